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
 * Removes a subvolume and the subvolumes inside it: a guest and its systemd
 * make some of their own (/var/lib/machines). Nothing there is no error. Goes
 * on when it is interrupted: what an interruption cut off is removed by this.
 */
export async function deleteSubvolume(host: Host, path: string): Promise<void> {
  if (!isSubvolume(await host.stat(path))) return host.remove(path);
  try {
    return await removeEmptied(host, path);
  } catch (error) {
    const inside = await findInside(host, path);
    if (inside.length === 0) throw error;
    // what is inside a sealed subvolume cannot be taken out of it
    await host.run(["btrfs", "property", "set", path, "ro", "false"], { undo: true });
    for (const each of inside) await deleteSubvolume(host, each);
    await removeEmptied(host, path);
  }
}

async function removeEmptied(host: Host, path: string): Promise<void> {
  await host.run(["btrfs", "subvolume", "delete", "--", path], { undo: true });
}

// find(1) and not btrfs' own list: it follows no links, and ends names where a guest cannot
async function findInside(host: Host, path: string): Promise<string[]> {
  const found = await host.run(["find", path, "-xdev", "-mindepth", "1", "-type", "d", "-inum", "256", "-print0"], {
    undo: true,
  });
  return found.stdout.split("\0").filter((each) => each !== "");
}
