import type { Argv, Host } from "../host/host.ts";

/**
 * What a tree is, as one number: the SHA-256 of a tar stream with everything
 * that makes files what they are (names in order, numeric owners, modes, times,
 * capabilities, ACLs) and nothing that differs from copy to copy (inode
 * numbers, access times, BTRFS properties).
 * @returns hex digest, and the size of all files together in bytes
 */
export async function digestTree(host: Host, path: string): Promise<{ digest: string; bytes: number }> {
  const archive: Argv = [
    "tar",
    "--create",
    "--file=-",
    "--directory",
    path,
    "--sort=name",
    "--numeric-owner",
    "--format=pax",
    "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
    "--acls",
    "--xattrs",
    "--xattrs-include=security.capability",
    "--xattrs-include=user.*",
    ".",
  ];
  const summed = await host.pipe(archive, ["sha256sum", "--binary"]);
  const counted = await host.run(["du", "--summarize", "--apparent-size", "--block-size=1", "--", path]);
  return { digest: summed.stdout.split(" ")[0] ?? "", bytes: Number.parseInt(counted.stdout, 10) };
}
