import type { ChildProcess } from "node:child_process";
import { constants } from "node:os";
import { once } from "node:events";
import { createWriteStream, type WriteStream } from "node:fs";
import { CommandFailed } from "./command-failed.ts";
import { Interrupted } from "./errors.ts";
import type { Argv, CommandOptions, CommandResult } from "./host.ts";
import { explained } from "./local-files.ts";

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/**
 * Runs a command to its end, whatever its exit status.
 * @param terminal gives it our own standard streams
 * @throws {Interrupted} when the signal was given, and the command is not shielded from it
 */
export async function execute(
  signal: AbortSignal,
  argv: Argv,
  options: CommandOptions = {},
  terminal = false,
): Promise<CommandResult> {
  const obeyed = options.shielded ? new AbortController().signal : signal;
  if (obeyed.aborted) throw new Interrupted();
  const { execa } = await import("execa");
  const output = await openOutput(options.output);
  const child = execa(argv[0], argv.slice(1), {
    ...common(obeyed, options),
    ...(terminal
      ? { stdio: "inherit", detached: false }
      : options.input === undefined
        ? { stdin: "ignore" }
        : { input: options.input }),
    ...(output === undefined ? {} : { stdout: output }),
    ...(options.timeoutMs === undefined ? {} : { timeout: Math.ceil(options.timeoutMs) }),
  });
  if (options.onLine) void eachLine(child.stderr, options.onLine);
  letGoOfPipes(child.nodeChildProcess);
  const result = await child;
  if (typeof output === "object") output.destroy();
  if (obeyed.aborted) throw new Interrupted();
  return toResult(argv, result, options.timeoutMs);
}

/** A file is made by ourselves, and never one that somebody else has put there. */
async function openOutput(output: string | undefined): Promise<"inherit" | WriteStream | undefined> {
  if (output === undefined) return undefined;
  if (output === "-") return "inherit";
  const file = createWriteStream(output, { flags: "wx", mode: 0o644 });
  // the command gets its descriptor: what it writes does not pass through us
  await explained("write", output, () => once(file, "open"));
  return file;
}

/**
 * Runs two commands as a pipe; returns what the second gave.
 * @throws {CommandFailed} for the one that is to blame when either fails
 */
export async function executePipe(
  signal: AbortSignal,
  from: Argv,
  to: Argv,
  options: CommandOptions = {},
): Promise<CommandResult> {
  if (signal.aborted) throw new Interrupted();
  const { execa } = await import("execa");
  const source = execa(from[0], from.slice(1), {
    ...common(signal, options),
    stdin: "ignore",
    buffer: { stdout: false },
  });
  const sink = execa(to[0], to.slice(1), {
    ...common(signal, options),
    stdin: "pipe",
  });
  if (options.onLine) void eachLine(source.stderr, options.onLine);
  // what they leave running may hold our pipes; until then all that they wrote has its time
  const giveUp = () => {
    for (const child of [source.nodeChildProcess, sink.nodeChildProcess]) letGoOfPipes(child);
  };
  signal.addEventListener("abort", giveUp, { once: true });
  // a sink that dies early must not leave us with an unhandled EPIPE; its status tells
  sink.stdin.on("error", () => {});
  let bytes = 0;
  if (options.onBytes) source.stdout.on("data", (chunk: Buffer) => options.onBytes?.((bytes += chunk.length)));
  source.stdout.pipe(sink.stdin);
  let saidAll = false;
  source.stdout.once("end", () => (saidAll = true));
  // when nobody reads any more, the source must hear of it, and not wait for ever
  const cutOff = sink.then(() => {
    if (saidAll) return false;
    source.stdout.destroy();
    return true;
  });
  const [sourceResult, sinkResult] = await Promise.all([source, sink]);
  signal.removeEventListener("abort", giveUp);
  if (signal.aborted) throw new Interrupted();
  const wrote = toResult(from, sourceResult, undefined);
  const read = toResult(to, sinkResult, undefined);
  // a sink that stopped reading is to blame: the source only reports the broken pipe. One that got all
  // there was is not: it complains of an input that was cut short.
  if (read.exitCode !== 0 && ((await cutOff) || wrote.exitCode === 0)) throw new CommandFailed(to, read);
  if (wrote.exitCode !== 0) throw new CommandFailed(from, wrote);
  return read;
}

/**
 * Runs a command and hands over what it writes.
 * @see Host.stream
 */
export async function executeStream(signal: AbortSignal, argv: Argv, take: (bytes: Uint8Array) => void): Promise<void> {
  if (signal.aborted) throw new Interrupted();
  const { execa } = await import("execa");
  const child = execa(argv[0], argv.slice(1), { ...common(signal, {}), stdin: "ignore", buffer: { stdout: false } });
  try {
    for await (const bytes of child.nodeChildProcess.stdout ?? []) take(bytes as Uint8Array);
  } catch (error) {
    child.kill("SIGKILL");
    await child;
    throw signal.aborted ? new Interrupted() : error;
  }
  const result = toResult(argv, await child, undefined);
  if (signal.aborted) throw new Interrupted();
  if (result.exitCode !== 0) throw new CommandFailed(argv, result);
}

/** Bytes that a command may say of what is kept. */
const MOST_SAID = 16 * 2 ** 20;

const LAST_WORDS_MS = 1000;

/**
 * A command's own end is the end. What it leaves running (a guest's process
 * behind lxc-attach) may hold our pipes for as long as it likes.
 */
function letGoOfPipes(child: ChildProcess): void {
  const letGo = () => {
    const timer = setTimeout(() => {
      child.stdout?.destroy();
      child.stderr?.destroy();
    }, LAST_WORDS_MS);
    child.once("close", () => clearTimeout(timer));
  };
  if (child.exitCode === null && child.signalCode === null) child.once("exit", letGo);
  else letGo();
}

function common(signal: AbortSignal, options: CommandOptions) {
  return {
    cancelSignal: signal,
    forceKillAfterDelay: 1000,
    // a process group of its own: Ctrl-C reaches us, and we decide what it means
    detached: true,
    extendEnv: false,
    env: environment(options.env),
    reject: false,
    encoding: "utf8",
    stripFinalNewline: false,
    // guests write some of it
    maxBuffer: MOST_SAID,
  } as const;
}

/** What every command gets, and nothing of ours: the same wherever we were called from. */
export function environment(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
  return {
    PATH,
    HOME: "/root",
    LC_ALL: "C.UTF-8",
    ...(process.env["TERM"] ? { TERM: process.env["TERM"] } : {}),
    ...extra,
  };
}

interface Ended {
  exitCode?: number | undefined;
  stdout?: unknown;
  stderr?: unknown;
  timedOut: boolean;
  isMaxBuffer: boolean;
  signal?: string | undefined;
  code?: string | undefined;
  originalMessage?: string | undefined;
}

function toResult(argv: Argv, ended: Ended, timeoutMs: number | undefined): CommandResult {
  const stdout = typeof ended.stdout === "string" ? ended.stdout : "";
  const stderr = typeof ended.stderr === "string" ? ended.stderr : "";
  if (ended.code === "ENOENT") {
    return { exitCode: 127, stdout, stderr: `${argv[0]}: command not found` };
  }
  if (ended.isMaxBuffer) {
    return { exitCode: 1, stdout, stderr: `it said more than ${MOST_SAID / 2 ** 20} MiB, and was ended` };
  }
  if (ended.timedOut) {
    return { exitCode: 124, stdout, stderr: `${stderr}\nno answer within ${timeoutMs} ms` };
  }
  if (ended.exitCode === undefined) {
    const number = constants.signals[ended.signal as NodeJS.Signals] ?? 0;
    return { exitCode: 128 + number, stdout, stderr: `${stderr}\n${ended.signal ?? ended.originalMessage ?? "ended"}` };
  }
  return { exitCode: ended.exitCode, stdout, stderr };
}

async function eachLine(stream: NodeJS.ReadableStream | null, onLine: (line: string) => void): Promise<void> {
  if (stream === null) return;
  const { createInterface } = await import("node:readline");
  for await (const line of createInterface({ input: stream })) onLine(line);
}
