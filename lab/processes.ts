import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { execa } from "execa";

/** A process that we started: a pid alone may have been given to another since. */
export interface StartedProcess {
  readonly pid: number;
  /** Clock ticks after boot, field 22 of /proc/PID/stat. */
  readonly startTime: string;
}

/** Takes a line of /proc/PID/stat apart; the command in brackets may hold spaces and brackets. */
export function parseStat(stat: string): StartedProcess & { state: string } {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return { pid: Number.parseInt(stat, 10), state: fields[0] ?? "", startTime: fields[19] ?? "" };
}

/** The process that has this pid now, or undefined when there is none (a zombie counts as none). */
export function findProcess(pid: number): StartedProcess | undefined {
  try {
    const { state, startTime } = parseStat(readFileSync(`/proc/${pid}/stat`, "utf8"));
    return state === "Z" || state === "X" ? undefined : { pid, startTime };
  } catch {
    return undefined;
  }
}

/** True while this very process lives, and not another that was given its pid. */
export function isAlive(process: StartedProcess): boolean {
  return findProcess(process.pid)?.startTime === process.startTime;
}

/** Kills a process of ours, if it lives, and waits until it is gone. */
export async function killProcess(started: StartedProcess): Promise<void> {
  if (!isAlive(started)) return;
  sendSignal(started, "SIGKILL");
  await waitUntil(() => !isAlive(started), { timeoutMs: 10_000, what: `process ${started.pid} to end` });
}

/** Sends a signal to a process of ours; does nothing when it has ended. */
export function sendSignal(started: StartedProcess, signal: NodeJS.Signals): void {
  if (!isAlive(started)) return;
  try {
    process.kill(started.pid, signal);
  } catch (error) {
    if (isAlive(started)) throw error;
  }
}

/**
 * Asks again and again until the answer is true.
 * @throws Error naming `what` when it is still not true after `timeoutMs`.
 */
export async function waitUntil(
  condition: () => boolean | Promise<boolean>,
  { timeoutMs, what }: { timeoutMs: number; what: string },
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMs / 1000} s in vain for ${what}`);
    await delay(15);
  }
}

/**
 * Opens a file, to be appended to, as a child's output. A number and no stream,
 * so that nobody waits for it or reads it; execa's types know none above 9.
 */
export function openOutput(path: string): 1 {
  return openSync(path, "a") as 1;
}

interface LabChild {
  /** Its number on this machine, also when it has ended meanwhile. */
  readonly pid: number;
  readonly hasEnded: () => boolean;
}

/**
 * Starts a process that writes to a file and that nobody waits for. It ends
 * with this one, however that ends, unless it is to be kept.
 * @throws Error when it cannot be started
 */
export function startInBackground(argv: readonly string[], output: string, { keep }: { keep: boolean }): LabChild {
  const file = openOutput(output);
  const child = execa("setpriv", [...(keep ? [] : ["--pdeathsig", "KILL"]), "--", ...argv], {
    stdin: "ignore",
    stdout: file,
    stderr: file,
    detached: true,
    cleanup: false,
    reject: false,
  });
  closeSync(file);
  child.nodeChildProcess.unref();
  let ended = false;
  void child.then(() => (ended = true));
  if (child.pid === undefined) throw new Error(`Unable to start ${argv[0]}`);
  return { pid: child.pid, hasEnded: () => ended };
}

/** Differs after each boot of this machine, so that pids of an earlier boot are not believed. */
export function bootId(): string {
  const file = "/proc/sys/kernel/random/boot_id";
  return existsSync(file) ? readFileSync(file, "utf8").trim() : "";
}
