import { spawnSync } from "node:child_process";
import { readlinkSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/** Milliseconds, one for each time that something was done, in the order it was done. */
export type Series = number[];

export const POOL = "/var/lib/op-dbus";
/** The root file system of the current version of debian-base. */
export const TEMPLATE = join(POOL, "@templates/debian-base", readlinkSync(join(POOL, "@templates/debian-base/rootfs")));
/** Beside the containers, on the same file system; nothing in it is the product's. */
export const SCRATCH = join(POOL, "bench");

const started = new Map<string, number>();

/** A name that was not used before, such as web-03. */
export function next(kind: string): string {
  const count = (started.get(kind) ?? 0) + 1;
  started.set(kind, count);
  return `${kind}-${String(count).padStart(2, "0")}`;
}

/** Several of them. */
export function nextOnes(kind: string, count: number): string[] {
  return Array.from({ length: count }, () => next(kind));
}

/** Runs a command to its end, as a shell would, and gives its output and its milliseconds. */
export function run(command: string, ...rest: readonly string[]): { stdout: string; took: number } {
  const began = performance.now();
  const ended = spawnSync(command, rest, {
    stdio: ["ignore", "pipe", "pipe"],
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  const took = performance.now() - began;
  const { status, stdout, stderr, error } = ended;
  if (status !== 0) throw new Error(`${command} ${rest.join(" ")} exited with ${status}: ${stderr}`, { cause: error });
  return { stdout, took };
}

/** Runs a command to its end, and gives its milliseconds. */
export function time(command: string, ...rest: readonly string[]): number {
  return run(command, ...rest).took;
}

/** Does each thing once in a round; every other round the other way round. The first round is not counted. */
export async function takeTurns<Name extends string>(
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

/** Lets the disk rest: what one thing left to be written must not slow down the next. */
export async function settled(took: number): Promise<Series> {
  time("sync");
  await delay(1000);
  return [took];
}

/** The command line that makes containers. */
export function create(names: readonly string[], ...options: string[]): [string, ...string[]] {
  return ["op-dbus", "container", "create", "--network", "none", ...options, "--", ...names];
}

/** Destroys containers, and waits until BTRFS has taken them apart. */
export function destroy(names: readonly string[]): void {
  if (names.length === 0) return;
  time("op-dbus", "container", "destroy", "--force", "--yes", "--quiet", "--", ...names);
  time("btrfs", "subvolume", "sync", POOL);
}
