import type { Argv } from "../host/host.ts";

// what makes files what they are beside owner, mode and time; anything else that they carry is the host's
const EXTENDED = ["--acls", "--xattrs", "--xattrs-include=security.capability", "--xattrs-include=user.*"];

/**
 * What tar(1) is told to write a tree with everything that makes files what
 * they are (names in order, numeric owners, modes, times, capabilities, ACLs)
 * and nothing that differs from copy to copy (inode numbers, access times,
 * BTRFS properties).
 */
export const PACK_OPTIONS: readonly string[] = [
  "--sort=name",
  "--numeric-owner",
  "--format=pax",
  "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
  ...EXTENDED,
];

/** The command that writes a tree as a tar stream to its standard output, the same at each time. */
export function packArgv(path: string): Argv {
  return ["tar", "--create", "--file=-", "--directory", path, ...PACK_OPTIONS, "."];
}

/** What tar(1) is told to make a tree of what `PACK_OPTIONS` wrote. */
export const UNPACK_OPTIONS: readonly string[] = [
  "--numeric-owner",
  "--preserve-permissions",
  ...EXTENDED,
  // devices are the container's own business: LXC and Proxmox VE fill /dev at each start
  "--anchored",
  "--exclude=./dev/*",
  "--exclude=dev/*",
];

/** Where a command that is confined to a tree finds it. */
const INSIDE = "/tree";

/** The command that unpacks a tar stream into an empty tree, and can reach nothing but that tree. */
export function unpackArgv(rootfs: string): Argv {
  return confinedTo(rootfs, ["tar", "--extract", "--directory", INSIDE, ...UNPACK_OPTIONS]);
}

// A root of its own with the tree, and the host's /usr to read: a link in the tree leads nowhere else.
const CONFINE = `set -e
mount -t tmpfs -o mode=755,size=64k tmpfs /run
mkdir /run/usr /run${INSIDE}
mount --bind /usr /run/usr
mount -o remount,bind,ro /run/usr
ln -s usr/bin usr/sbin usr/lib usr/lib64 /run
mount --bind "$0" /run${INSIDE}
cd /run
exec chroot /run "$@"`;

// what files of any owner and mode need; not the one that makes devices
const CAPABILITIES = ["chown", "dac_override", "fowner", "fsetid", "setfcap"];

/**
 * The command that runs another one where there is nothing but a tree (at
 * `/tree`) and the host's programs: what somebody else has shaped cannot lead
 * it to the host's files, whatever it makes of them.
 */
export function confinedTo(rootfs: string, argv: Argv): Argv {
  const allowed = `--bounding-set=-all${CAPABILITIES.map((name) => `,+${name}`).join("")}`;
  const confined = [
    "setpriv",
    "--pdeathsig",
    "KILL",
    "--",
    "unshare",
    "--mount",
    "--",
    "sh",
    "-c",
    CONFINE,
    rootfs,
  ] as const;
  return [...confined, "setpriv", "--no-new-privs", allowed, "--", ...argv];
}
