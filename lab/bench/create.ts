// Making containers: what one takes in a batch, and a whole command.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { copyByLxd } from "./lxd.ts";
import type { Part } from "./parts.ts";
import { create, next, nextOnes, run, SCRATCH, type Series, settled, takeTurns, TEMPLATE, time } from "./turns.ts";

const ARCHIVE = "/tmp/template.tar.zst";
const SNAPSHOT = ["btrfs", "subvolume", "snapshot", "--"] as const;
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const ROUNDS = { startUp: 21, cold: 11, batch: 6 };
const PER_BATCH = 10;
export const LISTED = 10;

/** Starting the program, with LISTED containers on the pool. */
export function measureStartUp() {
  time(...create(nextOnes("listed", LISTED)));
  return takeTurns(ROUNDS.startUp, {
    emptyNode: () => time(process.execPath, "-e", "0"),
    version: () => time("op-dbus", "--version"),
    list: () => time("op-dbus", "container", "list"),
  });
}

/** A whole command that makes one container, and other ways to one. */
export function measureCold() {
  time("tar", "--zstd", "--numeric-owner", "-cf", ARCHIVE, "-C", TEMPLATE, ".");
  return takeTurns(ROUNDS.cold, {
    create: () => time(...create([next("cold")])),
    lxdCopy: () => copyByLxd(next("cold-lxd")),
    unpack: () => {
      const into = join(SCRATCH, next("unpacked"));
      time("btrfs", "subvolume", "create", into);
      return settled(time("tar", "--zstd", "--numeric-owner", "-xpf", ARCHIVE, "-C", into));
    },
  });
}

/** One more container of a command that makes several; `parts` is where its time went. */
export async function measureBatch() {
  const parts: Record<Part, Series> = { files: [], snapshot: [], rename: [], link: [], audit: [], looks: [] };
  let round = 0;
  const { create: created, ...bare } = await takeTurns(ROUNDS.batch, {
    create: () => createBatch(nextOnes("web", PER_BATCH + 1)),
    snapshotCommand: () => spawnSnapshots(),
    snapshotIoctl: () => callSnapshots(),
    parts: () => createInParts(round++, parts),
  });
  return { batch: { create: created, ...bare }, parts };
}

/** Milliseconds between the lines by which one process says that a container is there: all of one container's work. */
export async function createBatch(names: readonly string[]): Promise<Series> {
  const [command, ...rest] = create(names);
  const child = spawn(command, rest, { stdio: ["ignore", "pipe", "ignore"] });
  const times: number[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.includes(": created from ")) times.push(performance.now());
  }
  if (times.length !== names.length) throw new Error(`${times.length} of ${names.length} containers were made`);
  return times.slice(1).map((at, index) => at - (times[index] ?? 0));
}

/** The bare command, started from this process with what the product gives its commands: pipes, a group of its own. */
async function spawnSnapshots(): Promise<Series> {
  const series: Series = [];
  for (let index = 0; index < PER_BATCH; index++) {
    const began = performance.now();
    const argv = [...SNAPSHOT, TEMPLATE, join(SCRATCH, next("bare"))] as const;
    const child = spawn(argv[0], argv.slice(1), { stdio: ["ignore", "pipe", "pipe"], detached: true, env: { PATH } });
    child.stdout.resume();
    child.stderr.resume();
    const status = await new Promise<number | null>((resolve) => child.once("close", resolve));
    series.push(performance.now() - began);
    if (status !== 0) throw new Error(`${argv.join(" ")} exited with ${status}`);
  }
  return series;
}

// BTRFS_IOC_SNAP_CREATE_V2 takes a struct btrfs_ioctl_vol_args_v2 (linux/btrfs.h)
const CALL_SNAPSHOTS = String.raw`
use Fcntl; use Time::HiRes "time";
my ($from, $into, @names) = @ARGV;
sysopen(my $source, $from, O_RDONLY | O_DIRECTORY) or die "$from: $!";
sysopen(my $folder, $into, O_RDONLY | O_DIRECTORY) or die "$into: $!";
for my $name (@names) {
  my $arguments = pack("q Q Q x32 a4040", fileno($source), 0, 0, $name);
  my $began = time;
  ioctl($folder, 0x50009417, $arguments) or die "$name: $!";
  printf "%.4f\n", 1000 * (time - $began);
}`;

/** What the kernel alone takes, by Perl, which every Debian has. */
function callSnapshots(): Series {
  const { stdout } = run("perl", "-e", CALL_SNAPSHOTS, TEMPLATE, SCRATCH, ...nextOnes("call", PER_BATCH));
  return stdout.trim().split("\n").map(Number);
}

function createInParts(round: number, parts: Record<Part, Series>): Series {
  // the first warms up, as the first of createBatch does
  const names = nextOnes("part", PER_BATCH + 1);
  const script = join(import.meta.dirname, "parts.js");
  const { stdout } = run(process.execPath, script, ...names);
  const found = JSON.parse(stdout) as Partial<Record<Part, number>>[];
  for (const one of round === 0 ? [] : found.slice(1)) {
    for (const part of Object.keys(parts) as Part[]) parts[part].push(one[part] ?? 0);
  }
  return [];
}
