import { basename, dirname } from "node:path";
import type { FileStat, Host, HostView } from "../host/host.ts";

/** The root of a BTRFS subvolume always has inode 256. */
export function isSubvolume(found: FileStat | undefined): boolean {
  return found?.type === "directory" && found.inode === 256;
}

/** Makes a subvolume whose new files are compressed with zstd, at the file system's level. */
export async function createSubvolume(host: Host, path: string): Promise<void> {
  await host.run(["btrfs", "subvolume", "create", "--", path]);
  await host.run(["btrfs", "property", "set", path, "compression", "zstd"]);
}

/** Makes a writable copy-on-write copy. */
export async function snapshotSubvolume(host: Host, from: string, to: string): Promise<void> {
  await host.run(["btrfs", "subvolume", "snapshot", "--", from, to]);
}

/** Makes a sealed copy-on-write copy, fit for `btrfs send`. */
export async function snapshotReadOnly(host: Host, from: string, to: string): Promise<void> {
  await host.run(["btrfs", "subvolume", "snapshot", "-r", "--", from, to]);
}

/** Seals or opens a subvolume. */
export async function setReadOnly(host: Host, path: string, sealed: boolean): Promise<void> {
  await host.run(["btrfs", "property", "set", path, "ro", String(sealed)]);
}

/** Whether a subvolume is sealed. */
export async function isReadOnly(host: HostView, path: string): Promise<boolean> {
  const answer = await host.probe(["btrfs", "property", "get", path, "ro"]);
  return answer.exitCode === 0 && answer.stdout.trim() === "ro=true";
}

/**
 * Removes a subvolume and the subvolumes inside it: a guest's systemd makes
 * some of its own (/var/lib/machines). Nothing there is no error. Goes on
 * when it is interrupted: what an interruption cut off is removed by this.
 */
export async function deleteSubvolume(host: Host, path: string): Promise<void> {
  if (!isSubvolume(await host.stat(path))) return host.remove(path);
  // -o lists what is below this subvolume, by path from the top of the file system
  const below = await host.probe(["btrfs", "subvolume", "list", "-o", path], { undo: true });
  const inside = below.stdout
    .split("\n")
    .map((line) => /^ID \d+ gen \d+ top level \d+ path (.+)$/.exec(line)?.[1])
    .filter((found) => found !== undefined);
  for (const nested of inside) {
    const marker = `${basename(dirname(path))}/${basename(path)}/`;
    const at = nested.lastIndexOf(marker);
    if (at === -1) continue;
    const relative = nested.slice(at + marker.length);
    if (await hasNoLinks(host, path, relative)) await deleteSubvolume(host, `${path}/${relative}`);
  }
  await host.run(["btrfs", "subvolume", "delete", "--", path], { undo: true });
}

// a guest chose these names, and one with a line break in it can claim to lie behind a link of the guest's
async function hasNoLinks(host: HostView, base: string, relative: string): Promise<boolean> {
  let path = base;
  for (const part of relative.split("/")) {
    path = `${path}/${part}`;
    if ((await host.stat(path))?.type !== "directory") return false;
  }
  return true;
}
