import { basename } from "node:path";
import { CommandFailed } from "../host/command-failed.ts";
import { UserError } from "../host/errors.ts";
import type { Host, HostView } from "../host/host.ts";
import { CONTAINERS } from "../paths.ts";
import { nameTaken } from "./create.ts";
import { lxcLink } from "./lxc-link.ts";
import { containerFolder } from "./record.ts";
import { runningContainers } from "./running.ts";
import { foreignSocket, LEAVING_MS } from "./start.ts";
import { until } from "../host/until.ts";

// renameat2(2) and its flags, by syscall(2) with the numbers of x86-64: coreutils of Debian 12 cannot exchange.
// Whoever has the name of the monitor's socket keeps LXC from starting the container, and fails to get it
// while that runs.
const MOVE = String.raw`
  my ($how, $from, $to, $socket, $folder, $parent) = @ARGV;
  syscall(157, 1, 9); # prctl(2), PR_SET_PDEATHSIG: what was made for this is swept when we are gone
  socket(my $held, 1, 1, 0) or fail($socket);
  bind($held, pack("S a*", 1, "\0$socket")) or fail($socket);
  getppid == $parent or exit 1;
  $how == 2 and (stat "$from/rootfs")[1] != 256 and do { $! = 2; fail("$from/rootfs") };
  syscall(316, -100, $from, -100, $to, int $how) == 0 or fail($to);
  syswrite(STDOUT, "moved\n");
  open(my $synced, "<", $folder) and syscall(74, fileno $synced);
  sub fail { warn "$_[0]: $!\n"; exit $! + 0 }`;
const HOW = { rename: "1", exchange: "2" } as const;
const EEXIST = 17;
const EADDRINUSE = 98;

/** @throws {UserError} when the container runs */
export async function refuseRunning(host: HostView, name: string): Promise<void> {
  if (!(await runningContainers(host)).has(name)) return;
  throw new UserError(`${name} is running`, { hint: `op-dbus container stop ${name}   # then try again` });
}

/**
 * Gives the folder of a stopped container another name, in one step, while nobody can start it.
 * @throws {UserError} when the container runs, or the other name is taken
 */
export async function renameStopped(host: Host, name: string, to: string): Promise<void> {
  await moveStopped(host, name, "rename", containerFolder(name), containerFolder(to));
}

/**
 * Puts another folder in the place of a stopped container's, and that one in
 * its place, in one step, while nobody can start it.
 * @throws {UserError} when the container runs
 */
export async function exchangeStopped(host: Host, name: string, other: string): Promise<void> {
  await moveStopped(host, name, "exchange", other, containerFolder(name));
}

async function moveStopped(host: Host, name: string, how: keyof typeof HOW, from: string, to: string): Promise<void> {
  const argv = [
    "perl",
    "-e",
    MOVE,
    "--",
    HOW[how],
    from,
    to,
    `${lxcLink(name)}/command`,
    CONTAINERS,
    String(process.pid),
  ] as const;
  const move = async () => {
    try {
      await host.run(argv, { shielded: true });
      return true;
    } catch (error) {
      if (!(error instanceof CommandFailed)) throw error;
      const { exitCode, stdout, stderr } = error.result;
      // it was ended after its work, while that went to the disk
      if (stdout.startsWith("moved")) return true;
      if (exitCode === EEXIST && how === "rename") throw nameTaken(basename(to), error);
      if (exitCode !== EADDRINUSE)
        throw new UserError(`Unable to ${how} ${from}: ${stderr.trim()}`, { hint: "dmesg", cause: error });
      await refuseRunning(host, name);
      // a monitor that ends leaves its socket a moment later
      return undefined;
    }
  };
  if (!(await until(LEAVING_MS, move))) throw foreignSocket(name, "change");
}
