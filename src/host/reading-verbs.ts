import type { Argv } from "./host.ts";

/**
 * The commands that only look. A rule is the command and the words that must
 * follow it at once; what comes after them is free.
 */
const READING_VERBS: readonly Argv[] = [
  ["apt-get", "indextargets"],
  ["blkid", "--probe"],
  ["btrfs", "property", "get"],
  ["btrfs", "subvolume", "list"],
  ["compsize"],
  ["dpkg", "--verify"],
  ["dpkg-query", "--listfiles"],
  ["dpkg-query", "--show"],
  ["getent"],
  ["ip", "-json", "-details", "address", "show"],
  ["journalctl", "--no-pager", "--output=cat"],
  ["lsblk"],
  ["lxc-info"],
  ["modprobe", "--dry-run"],
  ["pveversion"],
  ["systemctl", "is-active"],
  ["systemctl", "is-enabled"],
  ["systemctl", "is-failed"],
  ["systemctl", "show"],
];

/** Whether a command is on the list of those that change nothing. */
export function isReadingVerb(argv: Argv): boolean {
  return READING_VERBS.some((rule) => rule.every((word, index) => argv[index] === word));
}
