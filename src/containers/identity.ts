import { CommandFailed } from "../host/command-failed.ts";
import { UserError } from "../host/errors.ts";
import type { Host } from "../host/host.ts";
import { renamedConfig, withoutKeys } from "./lxc-config.ts";
import { FORBIDDEN } from "../templates/contents.ts";

const HOST_NAME = "/etc/hostname";
/** What the template's first start leaves, so that it is not repeated. */
const FIRST_START_DONE = "/var/lib/opdbus/firstboot-done";
/** Emptied, not removed: a systemd that finds none takes the start for the very first, and enables units. */
const MACHINE_ID = "/etc/machine-id";
const SECRETS = [...FORBIDDEN.map(({ path }) => path).filter((path) => path !== MACHINE_ID), "/etc/ssh/ssh_host_*"];

/** Whether a container has made itself a machine of its own, at its first start. */
export async function wasStarted(host: Host, rootfs: string): Promise<boolean> {
  return (await inTree(host, rootfs, "look", [FIRST_START_DONE])).includes(FIRST_START_DONE);
}

/**
 * Takes out of a root file system what tells one machine from another. What
 * starts from it makes its own, like a new container.
 * @returns whether it had made its own before
 * @throws {UserError} where the way to it leads through links, which only the guest can follow
 */
export async function forgetIdentity(host: Host, rootfs: string): Promise<boolean> {
  const found = await inTree(host, rootfs, "remove", [...SECRETS, MACHINE_ID, HOST_NAME, FIRST_START_DONE]);
  const hidden = found.find((line) => line.startsWith("through a link: "));
  if (hidden === undefined) return found.includes(FIRST_START_DONE);
  throw new UserError(
    `Unable to take out what is this container's alone: ${hidden.split(": ")[1]} lies behind a link`,
    {
      hint: "make it a folder inside the container, then try again",
    },
  );
}

/** Takes its host name out of a root file system: at the next start it takes the one that LXC gives it. */
export async function forgetHostName(host: Host, rootfs: string): Promise<void> {
  await inTree(host, rootfs, "remove", [HOST_NAME, FIRST_START_DONE]);
}

/**
 * Makes a root file system that nobody uses yet that of a container of another name.
 * @returns its configuration under that name
 */
export async function giveName(host: Host, rootfs: string, config: string, from: string, to: string): Promise<string> {
  if (from === to) return config;
  const renamed = renamedConfig(config, from, to);
  const text = (await wasStarted(host, rootfs)) ? withoutKeys(renamed) : renamed;
  await forgetHostName(host, rootfs);
  return text;
}

// The tree is as a guest has shaped it: each folder is entered by itself, and never by a link, so that nothing
// outside is met. What it is about then has no folder in its name. syncfs(2), by its number, comes last: what gets its name
// after this must not, after a power cut, be there with the identity of another.
const IN_TREE = String.raw`use Fcntl;
  my ($do, $machine_id, $root, @paths) = @ARGV;
  sub enter { my $folder; sysopen($folder, $_[0], O_RDONLY | O_DIRECTORY | O_NOFOLLOW) and chdir $folder }
  PATH: for my $path (@paths) {
    my (undef, @way) = split m{/}, $path;
    my $name = pop @way;
    enter($root) or die "$root: $!\n";
    for (@way) { next if enter($_); print "through a link: $path\n" if -l; next PATH }
    for (glob $name) {
      lstat or next;
      print "$path\n";
      next if $do eq "look";
      -d _ ? system("rm", "-rf", "--", $_) == 0 : unlink or die "unable to remove $path from $root: $!\n";
      next if $path ne $machine_id;
      sysopen(my $empty, $_, O_WRONLY | O_CREAT | O_EXCL, 0444) or die "unable to empty $path in $root: $!\n";
    }
  }
  exit if $do eq "look";
  open(my $synced, "<", $root) or die "$root: $!\n";
  syscall(306, fileno $synced) == 0 or die "unable to write $root to the disk: $!\n";`;

/** @returns the paths of which there was something, and those that lie behind a link, as such */
async function inTree(
  host: Host,
  rootfs: string,
  what: "look" | "remove",
  paths: readonly string[],
): Promise<string[]> {
  const argv = ["perl", "-e", IN_TREE, "--", what, MACHINE_ID, rootfs, ...paths] as const;
  try {
    return (await host.run(argv, { shielded: true })).stdout.split("\n");
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error;
    throw new UserError(`Unable to take the identity out of ${rootfs}: ${error.result.stderr.trim()}`, {
      hint: `ls -l ${rootfs}/etc   # what is it?`,
      cause: error,
    });
  }
}
