import { userInfo } from "node:os";
import type { AuditReader } from "../audit/audit-log.ts";
import type { Actor, Recorded } from "../audit/record.ts";
import type { AuditEntry, JsonObject } from "../audit/rows.ts";
import { shellText } from "../host/command-failed.ts";
import { errnoOf, EXIT, UserError } from "../host/errors.ts";
import type { Host } from "../host/host.ts";
import { localHost } from "../host/local-host.ts";
import { AUDIT_DATABASE, PACKAGE, RUNTIME } from "../paths.ts";
import { sayWhileWaiting } from "../report/patience.ts";
import type { Report } from "../report/report.ts";
import { TYPED } from "./typed.ts";
import { createRenderer, type Renderer } from "./renderer.ts";

/** Options that every command takes. */
export interface CommonOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly color?: boolean;
}

/** What a command works with. */
export interface Session {
  readonly host: Host;
  readonly out: Renderer;
  readonly json: boolean;
}

/**
 * Runs a command, as root only: gives it this machine and the renderer, turns
 * Ctrl-C into an orderly end, and an error into its message and exit code.
 */
export async function runCommand(options: CommonOptions, command: (session: Session) => Promise<void>): Promise<void> {
  const out = createRenderer({ quiet: options.quiet ?? false, color: options.color ?? true });
  const json = options.json ?? false;
  const interruption = new AbortController();
  // the modes of what we make are ours to choose, not those of the shell we came from
  process.umask(0o022);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      // a second one means it
      if (interruption.signal.aborted) process.exit(EXIT.interrupted);
      interruption.abort(signal);
    });
  }
  try {
    requireRoot();
    await command({ host: localHost(interruption.signal), out, json });
  } catch (thrown) {
    const error = errnoOf(thrown) === "ERR_MODULE_NOT_FOUND" ? replacedMeanwhile(thrown) : thrown;
    out.fail(error, json);
    process.exitCode = error instanceof UserError ? error.exitCode : EXIT.failed;
  }
}

/** Modules are loaded when they are needed; the package can have been upgraded or removed since we began. */
function replacedMeanwhile(cause: unknown): UserError {
  const hint = `dpkg --verify ${PACKAGE}   # when it says nothing, run the command again`;
  return new UserError("A part of the program is missing: was it replaced while this ran?", { hint, cause });
}

/** @throws {UserError} with exit code 3 for anyone but root: the pool is closed to others */
function requireRoot(): void {
  if (process.getuid?.() === 0) return;
  throw new UserError("This needs root", {
    hint: `sudo ${shellText([TYPED, ...process.argv.slice(2)])}`,
    exitCode: EXIT.unsupported,
  });
}

/**
 * Says after two seconds that the work goes on, and again at ever longer intervals (on a terminal at the same).
 * @param work gets whom to report to; what it says of its progress itself is enough
 */
export async function withPatience<T>(
  { out }: Session,
  task: string,
  work: (report: Report) => Promise<T>,
): Promise<T> {
  let saidMeanwhile = false;
  const report: Report = (event) => {
    saidMeanwhile ||= event.kind === "progress";
    out.report(event);
  };
  const say = (seconds: number) => {
    if (!saidMeanwhile) out.report({ kind: "progress", task, detail: `${seconds} s` });
    saidMeanwhile = false;
  };
  const stop = sayWhileWaiting(say, out.interactive ? 1 : 2);
  try {
    return await work(report);
  } finally {
    stop();
  }
}

interface Confirmation {
  readonly question: string;
  /** `--yes`: no question is asked. */
  readonly yes: boolean | undefined;
}

/** Asks a person whether to go on. @throws {UserError} when the answer is no, or there is nobody to ask */
export async function confirm({ out }: Session, { question, yes }: Confirmation): Promise<void> {
  if (yes) return;
  if (!out.interactive) {
    throw new UserError("There is no terminal to ask on, and --yes was not given; nothing was changed", {
      hint: shellText([TYPED, ...process.argv.slice(2), "--yes"]),
      exitCode: EXIT.usage,
    });
  }
  const answer = await out.ask(`${question} [y/N] `);
  if (!/^y(es)?$/i.test(answer)) throw new UserError("Stopped before anything was changed");
}

/** Who is at work, for the audit log. */
export function currentActor(host: Host): Actor {
  const sudoUser = process.env["SUDO_USER"];
  return {
    user: userInfo().username,
    ...(sudoUser === undefined ? {} : { sudoUser }),
    pid: process.pid,
    node: host.name,
  };
}

/** Opens this node's audit log for reading, as long as `use` runs; works on a full disk, too. */
export async function readingAuditLog<T>(use: (log: AuditReader) => T): Promise<T> {
  const { readAuditLog } = await import("../audit/audit-log.ts");
  const log = readAuditLog(AUDIT_DATABASE, RUNTIME);
  try {
    return use(log);
  } finally {
    log.close();
  }
}

/** Makes one change on record: its intent before, its outcome after, with what `describe` says of the result. */
export async function recorded<T>(
  { host }: Session,
  operation: string,
  target: string,
  details: JsonObject,
  change: () => Promise<T>,
  describe?: (result: T) => JsonObject,
): Promise<T> {
  const { record } = await import("../audit/record.ts");
  const { openAuditLog } = await import("../audit/audit-log.ts");
  const entry = { operation, target, metadata: details };
  return record(() => openAuditLog(AUDIT_DATABASE), entry, currentActor(host), change, describe);
}

/** Makes a change that frees space on record, also where the log's disk is full: then it goes to the journal first. */
export async function recordedAnyway<T>(
  { host }: Session,
  operation: string,
  target: string,
  details: JsonObject,
  change: () => Promise<T>,
): Promise<T> {
  const { journalRecorder } = await import("../install/journal.ts");
  let result: T | undefined;
  await journalRecorder(host, currentActor(host))(operation, target, details, async () => {
    result = await change();
  });
  return result as T;
}

/** Makes several changes on record, one after the other; the intents are written together, before the first. */
export async function recordedEach<T>(
  { host }: Session,
  entries: readonly AuditEntry[],
  change: (index: number) => Promise<T>,
): Promise<T[]> {
  const { recordAll } = await import("../audit/record.ts");
  const { openAuditLog } = await import("../audit/audit-log.ts");
  const started = recordAll(() => openAuditLog(AUDIT_DATABASE), entries, currentActor(host));
  const results: T[] = [];
  try {
    for (const [index, one] of started.entries()) results.push(await one.run(() => change(index)));
  } finally {
    // the one that failed wrote its own outcome; those behind it were not begun
    for (const one of started.slice(results.length + 1)) neverBegun(one);
  }
  return results;
}

/** What cannot be written now stays without an outcome on record; why the others were not begun matters more. */
function neverBegun(one: Recorded): void {
  try {
    one.finish({ status: "failed", durationMs: 0, error: "not begun, because an earlier one failed" });
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
  }
}
