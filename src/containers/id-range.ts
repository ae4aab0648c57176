import { ID_RANGE_SIZE } from "../config/limits.ts";
import type { HostView } from "../host/host.ts";

// below are real users; the first range of Debian's useradd starts here
const FIRST_SUBORDINATE_ID = 100_000;

interface Ids {
  /** The first of them on the host. */
  readonly start: number;
  readonly size: number;
}

interface Range extends Ids {
  readonly owner: string;
}

/**
 * Where the ids of root's containers begin on the host: root's own range,
 * the same in /etc/subuid and /etc/subgid. Undefined when root has none, or
 * only one that another user may map as well: he could act as a container's root.
 */
export async function findIdRange(host: HostView): Promise<number | undefined> {
  const ranges = await readRanges(host);
  return ranges[0].find(({ owner, start }) => isRoots({ owner }) && areRootsAlone(ranges, start, ID_RANGE_SIZE))?.start;
}

/** Whether ids of the host are root's subordinate ones, as users and as groups, and nobody else's. */
export async function areRootsIds(host: HostView, start: number, size: number): Promise<boolean> {
  return areRootsAlone(await readRanges(host), start, size);
}

function areRootsAlone(ranges: readonly [users: Range[], groups: Range[]], first: number, size: number): boolean {
  const holds = (range: Range) => range.start <= first && first + size <= range.start + range.size;
  return (
    ranges.every((each) => each.some((range) => isRoots(range) && holds(range))) &&
    !ranges.flat().some((range) => !isRoots(range) && overlap(range, { start: first, size }))
  );
}

/** Whether two ranges have an id in common. */
export function overlap(one: Ids, other: Ids): boolean {
  return one.start < other.start + other.size && other.start < one.start + one.size;
}

// LXC's own files have `key = value` (lxc.container.conf(5)), those of Proxmox VE `key: value`
const MAPPING = /^\s*lxc\.idmap\s*[=:]\s*[ugb]\s+(\d+)\s+(\d+)\s+(\d+)\s*$/gm;

/** The ids that the configuration of a container maps, and the id inside to which each range's first belongs. */
export function mappedIds(config: string): (Ids & { readonly inside: number })[] {
  return [...config.matchAll(MAPPING)].map(([, inside, start, size]) => ({
    inside: Number(inside),
    start: Number(start),
    size: Number(size),
  }));
}

function isRoots({ owner }: Pick<Range, "owner">): boolean {
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
