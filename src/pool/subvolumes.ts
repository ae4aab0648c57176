import type { FileStat, Host, HostView } from "../host/host.ts";
import { refuseMountsIn } from "../host/mounts.ts";

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

/** Opens a subvolume that `btrfs receive` made and sealed; it is a subvolume like any other then. */
export async function openReceived(host: Host, path: string): Promise<void> {
  await host.run(["btrfs", "property", "set", "-f", path, "ro", "false"]);
}

/** Whether a subvolume is sealed. */
export async function isReadOnly(host: HostView, path: string): Promise<boolean> {
  const answer = await host.probe(["btrfs", "property", "get", path, "ro"]);
  return answer.exitCode === 0 && answer.stdout.trim() === "ro=true";
}

/**
 * Puts plain, empty folders where a copy has none for the subvolumes that its original had inside: the kernel
 * shows a folder of inode 2 there, which nobody can write to.
 * @returns their paths in the tree
 */
export async function replaceNested(host: Host, rootfs: string): Promise<string[]> {
  // find follows no link: a tree that a guest shaped leads it nowhere
  const look = ["find", rootfs, "-xdev", "-mindepth", "1", "-type", "d", "-inum", "2"] as const;
  const listed = (await host.run([...look, "-printf", String.raw`/%P\0`])).stdout;
  const nested = listed.split("\0").filter((path) => path !== "");
  const replace = ["-execdir", "rmdir", "--", "{}", ";", "-execdir", "mkdir", "--", "{}", ";"];
  if (nested.length > 0) await host.run([...look, "-depth", ...replace]);
  return nested;
}

/**
 * Removes a subvolume and the subvolumes inside it: a guest and its systemd
 * make some of their own (/var/lib/machines). Nothing there is no error. Goes
 * on when it is interrupted: what an interruption cut off is removed by this.
 * @throws {UserError} when something is mounted inside, which is not ours to remove
 */
export async function deleteSubvolume(host: Host, path: string): Promise<void> {
  if (!isSubvolume(await host.stat(path))) return host.remove(path);
  try {
    return await removeEmptied(host, path);
  } catch {
    await refuseMountsIn(host, path);
    // what is inside a sealed subvolume cannot be taken out of it
    await forEachSubvolume(host, path, [], OPEN);
    await forEachSubvolume(host, path, ["-depth", "-mindepth", "1"], DESTROY);
    await removeEmptied(host, path);
  }
}

async function removeEmptied(host: Host, path: string): Promise<void> {
  await host.run(["btrfs", "subvolume", "delete", "--", path], { shielded: true });
}

// In the folder of each, and by the ioctls of linux/btrfs.h: a guest can nest folders until no path names what
// is in them, and btrfs(8) makes paths of what it is given. Perl is on every Debian (perl-base is essential).
const OPEN = String.raw`use Fcntl;
  sysopen(my $it, $ARGV[0], O_RDONLY | O_DIRECTORY | O_NOFOLLOW) or die "$ARGV[0]: $!";
  ioctl($it, 0x4008941a, my $flags = pack("Q", 0)) or die "unable to open the subvolume $ARGV[0]: $!"; # SUBVOL_SETFLAGS`;
const DESTROY = String.raw`use Fcntl;
  my ($name) = $ARGV[0] =~ m{^\./(.+)$}s or die;
  sysopen(my $folder, ".", O_RDONLY | O_DIRECTORY) or die $!;
  ioctl($folder, 0x5000940f, pack("q a4088", 0, $name)) or die "unable to remove the subvolume $name: $!"; # SNAP_DESTROY`;

async function forEachSubvolume(host: Host, path: string, how: readonly string[], script: string): Promise<void> {
  const look = ["find", path, ...how, "-type", "d", "-inum", "256"] as const;
  await host.run([...look, "-execdir", "perl", "-e", script, "{}", ";"], { shielded: true });
}
