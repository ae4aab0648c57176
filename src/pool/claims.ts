import { join } from "node:path";
import { EXIT, messageOf, UserError } from "../host/errors.ts";
import type { Host, HostView } from "../host/host.ts";
import { refuseMountsIn } from "../host/mounts.ts";
import { deleteSubvolume, isSubvolume } from "./subvolumes.ts";

/** Unfinished work carries its process in its name, so that what a dead one left can be told from what a live one makes. */
const CLAIM = /^\.(?:new|gone)-(\d+)-(\d+)-/;

/** A hidden folder name for work that this process has under way. */
export async function claimName(host: HostView, kind: "new" | "gone", name: string): Promise<string> {
  return `.${kind}-${process.pid}-${await startOf(host, process.pid)}-${name}`;
}

/** Names of what processes that are no more had begun in a folder. */
export async function findAbandoned(host: HostView, folder: string): Promise<string[]> {
  const abandoned: string[] = [];
  for (const name of (await host.list(folder)) ?? []) {
    const [, pid, start] = CLAIM.exec(name) ?? [];
    if (pid !== undefined && (await startOf(host, Number(pid))) !== start) abandoned.push(name);
  }
  return abandoned;
}

/**
 * Removes what processes that are no more had begun in a folder: their
 * subvolumes (always called `rootfs`) first, then the rest. What cannot be
 * removed stays; `doctor` names it.
 * @returns the names that were removed
 */
export async function sweepAbandoned(host: Host, folder: string): Promise<string[]> {
  const removed: string[] = [];
  for (const name of await findAbandoned(host, folder)) {
    // another process may be at it, and what cannot be removed must not stop what has nothing to do with it
    const gone = await discard(host, `${folder}/${name}`).then(
      () => true,
      () => false,
    );
    if (gone) removed.push(name);
  }
  return removed;
}

async function claimFolder(host: Host, folder: string, name: string): Promise<string> {
  const work = join(folder, await claimName(host, "new", name));
  await host.makeDirectory(work, { mode: 0o700 });
  return work;
}

/**
 * Makes something in a folder of root's under a hidden name, from where it is
 * renamed when it is whole. A failure leaves nothing behind.
 * @param make gets the path of the hidden folder, which is there already
 */
export async function making<T>(
  host: Host,
  folder: string,
  name: string,
  make: (work: string) => Promise<T>,
): Promise<T> {
  const work = await claimFolder(host, folder, name);
  try {
    return await make(work);
  } catch (error) {
    throw await discardFailed(host, work, error);
  }
}

/** As `making`, for what serves a while only: it is gone afterwards. */
export async function borrowing<T>(
  host: Host,
  folder: string,
  name: string,
  use: (work: string) => Promise<T>,
): Promise<T> {
  const work = await claimFolder(host, folder, name);
  try {
    return await use(work);
  } finally {
    // what cannot be removed now, the next run sweeps, and doctor names
    await discard(host, work).catch(() => {});
  }
}

/**
 * Removes something: by a rename first, after which it does not exist any more.
 * @param folder where it waits for its end
 * @throws {UserError} when something is mounted in it, and then nothing was done; or when not all of it could be
 *   removed, which the next run does, and doctor names
 */
export async function takeAway(host: Host, path: string, folder: string, name: string): Promise<void> {
  await refuseMountsIn(host, path);
  const gone = join(folder, await claimName(host, "gone", name));
  await host.rename(path, gone);
  await discard(host, gone);
}

/**
 * Removes what was made of something that failed.
 * @returns the error to throw: that of the failure, with what could not be removed after it
 */
export async function discardFailed(host: Host, path: string, error: unknown): Promise<unknown> {
  try {
    await discard(host, path);
    return error;
  } catch (left) {
    return new UserError(`${messageOf(error)}\nWhat was made of it could not be removed: ${messageOf(left)}`, {
      hint: "opdbus-pve doctor   # names what is left, and what mends it",
      exitCode: error instanceof UserError ? error.exitCode : EXIT.failed,
      cause: error,
    });
  }
}

/**
 * Removes a folder and the subvolumes `rootfs` in it: its own, and those in its
 * folders (a version of a template holds its twins) and in its snapshots.
 * @throws {UserError} when something is mounted in it
 */
export async function discard(host: Host, path: string): Promise<void> {
  await refuseMountsIn(host, path);
  if ((await host.stat(path))?.type !== "directory") return host.remove(path);
  const folders = [path, ...(await foldersIn(host, path)), ...(await foldersIn(host, `${path}/snapshots`))];
  for (const folder of folders) {
    const inside = `${folder}/rootfs`;
    if (isSubvolume(await host.stat(inside))) await deleteSubvolume(host, inside);
  }
  await host.remove(path);
}

/** Real folders only: a pool that came from elsewhere may hold links to what is not in it. */
async function foldersIn(host: HostView, path: string): Promise<string[]> {
  if ((await host.stat(path))?.type !== "directory") return [];
  const inside = ((await host.list(path)) ?? []).map((name) => `${path}/${name}`);
  const kinds = await Promise.all(inside.map(async (each) => (await host.stat(each))?.type));
  return inside.filter((_, index) => kinds[index] === "directory");
}

/** When a process was started, in clock ticks since boot (proc(5), stat field 22). */
async function startOf(host: HostView, pid: number): Promise<string | undefined> {
  const text = await host.readText(`/proc/${pid}/stat`);
  // the command in field 2 may hold blanks and parentheses
  return text?.slice(text.lastIndexOf(")") + 2).split(" ")[19];
}
