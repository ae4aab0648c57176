import { ID_RANGE_SIZE } from "../config/limits.ts";
import type { HostView } from "../host/host.ts";

// below are real users; the first range of Debian's useradd starts here
const FIRST_SUBORDINATE_ID = 100_000;

interface Range {
  readonly owner: string;
  readonly start: number;
  readonly size: number;
}

/**
 * Where the ids of root's containers begin on the host: root's own range,
 * the same in /etc/subuid and /etc/subgid. Undefined when root has none, or
 * only one that another user may map as well: he could act as a container's root.
 */
export async function findIdRange(host: HostView): Promise<number | undefined> {
  const [users, groups] = await readRanges(host);
  const others = [...users, ...groups].filter((range) => !isRoots(range));
  return users.find(
    (user) =>
      fits(user) &&
      groups.some((group) => fits(group) && group.start === user.start) &&
      !others.some(({ start, size }) => start < user.start + ID_RANGE_SIZE && user.start < start + size),
  )?.start;
}

/** Whether an id of the host belongs to root's subordinate ones, as user and as group. */
export async function isRootsId(host: HostView, id: number): Promise<boolean> {
  const inRange = (range: Range) => isRoots(range) && range.start <= id && id < range.start + range.size;
  return (await readRanges(host)).every((ranges) => ranges.some(inRange));
}

function fits(range: Range): boolean {
  return isRoots(range) && range.size >= ID_RANGE_SIZE;
}

function isRoots({ owner }: Range): boolean {
  return ["root", "0"].includes(owner);
}

/**
 * The first id above every range in use. A range of its own keeps a local
 * user, who may map his range, from acting as a container's root.
 */
export async function nextFreeId(host: HostView): Promise<number> {
  const ends = (await readRanges(host)).flat().map((range) => range.start + range.size);
  return Math.max(FIRST_SUBORDINATE_ID, ...ends);
}

async function readRanges(host: HostView): Promise<[users: Range[], groups: Range[]]> {
  const read = async (path: string) => parseRanges((await host.readText(path)) ?? "");
  return [await read("/etc/subuid"), await read("/etc/subgid")];
}

/** @see subuid(5) */
function parseRanges(text: string): Range[] {
  return text.split("\n").flatMap((line) => {
    const [, owner, start, size] = /^([^:#\s]+):(\d+):(\d+)\s*$/.exec(line) ?? [];
    return owner === undefined ? [] : [{ owner, start: Number(start), size: Number(size) }];
  });
}
