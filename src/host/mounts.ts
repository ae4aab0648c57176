import { shellText } from "./command-failed.ts";
import { UserError } from "./errors.ts";
import type { HostView } from "./host.ts";

/** A mount, as the kernel lists it. */
export interface Mount {
  readonly path: string;
  readonly type: string;
  /** Device or file as the kernel names it. */
  readonly source: string;
  /** Path within the file system that is mounted here, `/` for all of it. */
  readonly root: string;
  /** Mount options and those of the file system, as in mountinfo. */
  readonly options: readonly string[];
}

/** What is mounted on this machine, in the order it was mounted; /proc/self/mountinfo as data. */
export async function listMounts(host: HostView): Promise<Mount[]> {
  return parseMountInfo((await host.readText("/proc/self/mountinfo")) ?? "");
}

/**
 * Reads the text of /proc/[pid]/mountinfo.
 * @see proc(5): optional fields end with a lone hyphen, blanks are octal
 */
export function parseMountInfo(text: string): Mount[] {
  return text.split("\n").flatMap((line) => {
    const fields = line.split(" ");
    const separator = fields.indexOf("-");
    const [root, path, mountOptions] = fields.slice(3, 6);
    const [type, source, superOptions] = fields.slice(separator + 1);
    if (separator < 6 || root === undefined || path === undefined || type === undefined) return [];
    return [
      {
        path: unescape(path),
        type,
        source: unescape(source ?? ""),
        root: unescape(root),
        options: `${mountOptions},${superOptions ?? ""}`.split(","),
      },
    ];
  });
}

/** The mount that is visible at exactly this path: the last one wins. */
export function mountAt(mounts: readonly Mount[], path: string): Mount | undefined {
  return mounts.findLast((mount) => mount.path === path);
}

/** The mount that holds a path. */
export function mountHolding(mounts: readonly Mount[], path: string): Mount | undefined {
  const holds = (mount: Mount) => mount.path === "/" || path === mount.path || path.startsWith(`${mount.path}/`);
  return mounts
    .filter(holds)
    .reduce<Mount | undefined>(
      (best, mount) => (best && best.path.length > mount.path.length ? best : mount),
      undefined,
    );
}

/**
 * Whatever removes a folder goes through what is mounted in it: that is somebody's data, and not ours.
 * @throws {UserError} when something is mounted below the path
 */
export async function refuseMountsIn(host: HostView, path: string): Promise<void> {
  const inside = (await listMounts(host)).find((mount) => mount.path.startsWith(`${path}/`));
  if (inside !== undefined) throw mountedIn(path, inside);
}

/**
 * As `refuseMountsIn`, and for a mount at the path itself: so `Host.remove` keeps from every mount.
 * @param mounts as `listMounts` gives them
 */
export function refuseMountsAt(mounts: readonly Mount[], path: string): void {
  const found = mounts.find((mount) => mount.path === path || mount.path.startsWith(`${path}/`));
  if (found !== undefined) throw mountedIn(path, found);
}

function mountedIn(path: string, { path: at }: Mount): UserError {
  const where = at === path ? "something is mounted on it" : `something is mounted in it, at ${at}`;
  return new UserError(`Unable to remove ${path}: ${where}`, {
    hint: `umount ${shellText([at])}   # then try again`,
  });
}

function unescape(field: string): string {
  return field.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCodePoint(Number.parseInt(octal, 8)));
}
