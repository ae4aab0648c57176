// Runs in the node, under the program's own Node.js: measures by its clock, prints one JSON document.
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import type { Part } from "./parts.ts";

/** Milliseconds, one for each time that something was done, in the order it was done. */
export type Series = number[];

/** What was measured in the node; all that is compared was done in turns. */
export interface Samples {
  readonly startUp: Record<"spawn" | "emptyNode" | "version" | "list", Series>;
  readonly cold: Record<"create" | "unpack", Series>;
  readonly batch: Record<"create" | "snapshotCommand" | "snapshotIoctl", Series>;
  /** Of each container that the product's own functions made in one process. */
  readonly parts: Record<Part, Series>;
  readonly reinstall: Series;
  readonly shift: Record<"twin" | "copy", Series>;
  readonly twin: Twin;
  readonly containersListed: number;
}

/** What the twin of a template takes that the template does not take already; bytes. */
export interface Twin {
  /** As `btrfs filesystem du` says. */
  readonly exclusive: number;
  /** By how much the metadata of the pool grew. */
  readonly metadata: number;
}

const POOL = "/var/lib/op-dbus";
const TEMPLATE = join(POOL, "@templates/debian-base", readlinkSync(join(POOL, "@templates/debian-base/rootfs")));
/** Beside the containers, on the same file system; nothing in it is the product's. */
const SCRATCH = join(POOL, "bench");
const ARCHIVE = "/tmp/template.tar.zst";
const SNAPSHOT = ["btrfs", "subvolume", "snapshot", "--"] as const;
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const ROUNDS = { startUp: 21, cold: 11, batch: 6, reinstall: 11, shift: 6 };
const PER_BATCH = 10;
const LISTED = 10;

const started = new Map<string, number>();

/** A name that was not used before, such as web-03. */
function next(kind: string): string {
  const count = (started.get(kind) ?? 0) + 1;
  started.set(kind, count);
  return `${kind}-${String(count).padStart(2, "0")}`;
}

/** Runs a command to its end, as a shell would, and gives its output and its milliseconds. */
function run(command: string, ...rest: readonly string[]): { stdout: string; took: number } {
  const began = performance.now();
  const ended = spawnSync(command, rest, { stdio: ["ignore", "pipe", "pipe"], encoding: "utf8" });
  const took = performance.now() - began;
  const { status, stdout, stderr, error } = ended;
  if (status !== 0) throw new Error(`${command} ${rest.join(" ")} exited with ${status}: ${stderr}`, { cause: error });
  return { stdout, took };
}

function time(command: string, ...rest: readonly string[]): number {
  return run(command, ...rest).took;
}

/** Does each thing once in a round; every other round the other way round. The first round is not counted. */
async function takeTurns<Name extends string>(
  rounds: number,
  things: Record<Name, () => number | Series | Promise<Series>>,
): Promise<Record<Name, Series>> {
  const names = Object.keys(things) as Name[];
  const series = Object.fromEntries(names.map((name) => [name, [] as Series])) as Record<Name, Series>;
  for (let round = 0; round < rounds; round++) {
    for (const name of round % 2 === 0 ? names : names.toReversed()) {
      const taken = [await things[name]()].flat();
      if (round > 0) series[name].push(...taken);
    }
  }
  return series;
}

function create(...names: string[]): [string, ...string[]] {
  return ["op-dbus", "container", "create", "--network", "none", "--", ...names];
}

function measureStartUp() {
  time(...create(...Array.from({ length: LISTED }, () => next("listed"))));
  return takeTurns(ROUNDS.startUp, {
    spawn: () => time("/bin/true"),
    emptyNode: () => time(process.execPath, "-e", "0"),
    version: () => time("op-dbus", "--version"),
    list: () => time("op-dbus", "container", "list"),
  });
}

function measureCold() {
  time("tar", "--zstd", "--numeric-owner", "-cf", ARCHIVE, "-C", TEMPLATE, ".");
  return takeTurns(ROUNDS.cold, {
    create: () => time(...create(next("cold"))),
    unpack: () => {
      const into = join(SCRATCH, next("unpacked"));
      time("btrfs", "subvolume", "create", into);
      return settled(time("tar", "--zstd", "--numeric-owner", "-xpf", ARCHIVE, "-C", into));
    },
  });
}

const parts: Record<Part, Series> = { files: [], snapshot: [], rename: [], link: [], audit: [], looks: [] };

function measureBatch() {
  let round = 0;
  return takeTurns(ROUNDS.batch, {
    create: () => createBatch(),
    snapshotCommand: () => spawnSnapshots(),
    snapshotIoctl: () => callSnapshots(),
    parts: () => createInParts(round++),
  });
}

/** Milliseconds between the lines by which one process says that a container is there: all of one container's work. */
async function createBatch(): Promise<Series> {
  const names = Array.from({ length: PER_BATCH + 1 }, () => next("web"));
  const [command, ...rest] = create(...names);
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
  const names = Array.from({ length: PER_BATCH }, () => next("call"));
  const { stdout } = run("perl", "-e", CALL_SNAPSHOTS, TEMPLATE, SCRATCH, ...names);
  return stdout.trim().split("\n").map(Number);
}

function createInParts(round: number): Series {
  // the first warms up, as the first of createBatch does
  const names = Array.from({ length: PER_BATCH + 1 }, () => next("part"));
  const script = join(import.meta.dirname, "parts.js");
  const { stdout } = run(process.execPath, script, ...names);
  const found = JSON.parse(stdout) as Partial<Record<Part, number>>[];
  for (const one of round === 0 ? [] : found.slice(1)) {
    for (const part of Object.keys(parts) as Part[]) parts[part].push(one[part] ?? 0);
  }
  return [];
}

function measureShift() {
  return takeTurns(ROUNDS.shift, {
    twin: () => settled(time("op-dbus", "template", "shift", "debian-base", "--id-start", nextIdStart())),
    copy: () => settled(time("cp", "--archive", "--reflink=always", TEMPLATE, join(SCRATCH, next("copied")))),
  });
}

let idStart = 1_000_000;

/** One at which there is no twin yet. */
function nextIdStart(): string {
  idStart += 65_536;
  return String(idStart);
}

/** Lets the disk rest: what one thing left to be written must not slow down the next. */
async function settled(took: number): Promise<Series> {
  time("sync");
  await delay(1000);
  return [took];
}

function weighTwin(): Twin {
  time("sync");
  const before = metadataUsed();
  const { stdout } = run("op-dbus", "template", "shift", "debian-base", "--id-start", nextIdStart(), "--json");
  time("sync");
  const { path } = JSON.parse(stdout) as { path: string };
  const usage = run("btrfs", "filesystem", "du", "--summarize", "--raw", path).stdout;
  return {
    exclusive: Number(usage.trim().split("\n").at(-1)?.trim().split(/\s+/)[1]),
    metadata: metadataUsed() - before,
  };
}

function metadataUsed(): number {
  return Number(/^Metadata.* used=(\d+)$/m.exec(run("btrfs", "filesystem", "df", "--raw", POOL).stdout)?.[1]);
}

mkdirSync(SCRATCH, { recursive: true });
const startUp = await measureStartUp();
const { parts: _, ...batch } = await measureBatch();
const cold = await measureCold();
const { reinstall } = await takeTurns(ROUNDS.reinstall, { reinstall: () => time("opdbus-pve", "install", "--yes") });
const shift = await measureShift();
const twin = weighTwin();
const samples: Samples = { startUp, cold, batch, parts, reinstall, shift, twin, containersListed: LISTED };
process.stdout.write(`${JSON.stringify(samples)}\n`);
