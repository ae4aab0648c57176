import type { Host, HostView } from "../host/host.ts";
import { refuseMountsIn } from "./mounts.ts";
import { deleteSubvolume } from "./subvolumes.ts";

/** Unfinished work carries its process in its name, so that what a dead one left can be told from what a live one makes. */
const CLAIM = /^\.(?:new|gone)-(\d+)-(\d+)-/;

/** A hidden folder name for work that this process has under way. */
export async function claimName(host: HostView, kind: "new" | "gone", name: string): Promise<string> {
  return `.${kind}-${process.pid}-${await startOf(host, process.pid)}-${name}`;
}

/**
 * Removes what processes that are no more had begun in a folder: their
 * subvolumes (always called `rootfs`) first, then the rest. What cannot be
 * removed stays for the next time.
 * @returns the names that were removed
 */
export async function sweepAbandoned(host: Host, folder: string): Promise<string[]> {
  const abandoned: string[] = [];
  for (const name of (await host.list(folder)) ?? []) {
    const [, pid, start] = CLAIM.exec(name) ?? [];
    if (pid === undefined || (await startOf(host, Number(pid))) === start) continue;
    // another process may be at it, and what cannot be removed must not stop what has nothing to do with it
    const removed = await discard(host, `${folder}/${name}`).then(
      () => true,
      () => false,
    );
    if (removed) abandoned.push(name);
  }
  return abandoned;
}

/** Removes a folder and the subvolume `rootfs` in it. @throws {UserError} when something is mounted in it */
export async function discard(host: Host, path: string): Promise<void> {
  await refuseMountsIn(host, path);
  await deleteSubvolume(host, `${path}/rootfs`);
  await host.remove(path);
}

/** When a process was started, in clock ticks since boot (proc(5), stat field 22). */
async function startOf(host: HostView, pid: number): Promise<string | undefined> {
  const text = await host.readText(`/proc/${pid}/stat`);
  // the command in field 2 may hold blanks and parentheses
  return text?.slice(text.lastIndexOf(")") + 2).split(" ")[19];
}
