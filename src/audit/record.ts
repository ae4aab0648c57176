import { messageOf, UserError } from "../host/errors.ts";
import type { AuditLog } from "./audit-log.ts";
import type { AuditEntry, JsonObject } from "./rows.ts";

/** Who changes something, and from where. */
export interface Actor {
  user: string;
  /** The person behind `sudo`, if there is one. */
  sudoUser?: string;
  pid: number;
  /** The node's host name. */
  node: string;
}

/** How an operation ended; `durationMs` counts from its own start. */
type Outcome =
  | { status: "ok"; durationMs: number; details?: JsonObject | undefined }
  | { status: "failed"; durationMs: number; error: unknown };

/** An operation whose intent is in the log. It ends by one call of `run` or of `finish`. */
export interface Recorded {
  /** The id of the intent's row. */
  readonly intent: number;
  /**
   * Runs the action and writes its outcome, with what `describe` says of the
   * result. Returns what the action returns.
   * Throws what the action throws; `UserError` when the outcome cannot be
   * written, which then names both.
   */
  run<T>(action: () => Promise<T>, describe?: (result: T) => JsonObject): Promise<T>;
  /** Writes the outcome of an action run elsewhere, or not at all. Throws `UserError` when it cannot. */
  finish(outcome: Outcome): void;
}

/**
 * Changes something on record: an intent row (`status: "started"`) before, an
 * outcome row (`status: "ok"` or `"failed"`, `intent`, `durationMs`, `error`)
 * after, so that a crash in between leaves the intent as evidence.
 *
 * Takes how to open the log, which is not kept open over the change (a disk
 * that fills up meanwhile would end the process, see `openAuditLog`), the entry
 * (no secrets in it), who acts, the change, and what to write of its result.
 * Returns what the action returns. Throws `UserError` when the intent cannot be
 * written, and then the action is not run; else see `Recorded.run`.
 */
export async function record<T>(
  open: () => AuditLog,
  entry: AuditEntry,
  actor: Actor,
  action: () => Promise<T>,
  describe?: (result: T) => JsonObject,
): Promise<T> {
  const [recorded] = recordAll(open, [entry], actor);
  return recorded!.run(action, describe);
}

/** Appends to the log, which is open only meanwhile. */
function briefly(open: () => AuditLog): Appender {
  return {
    append(...entries) {
      const log = open();
      try {
        return log.append(...entries);
      } finally {
        log.close();
      }
    },
  };
}

type Appender = Pick<AuditLog, "append">;

/**
 * Like `record` for several operations: their intents are written in one
 * transaction, each outcome by itself.
 *
 * Returns one `Recorded` per entry, in order. Throws `UserError` when the
 * intents cannot be written; then none is, and nothing may be run.
 */
export function recordAll(open: () => AuditLog, entries: readonly AuditEntry[], actor: Actor): Recorded[] {
  const log = briefly(open);
  const intents = entries.map((entry) => ({
    ...entry,
    metadata: { ...entry.metadata, status: "started", actor: { ...actor } },
  }));
  let ids: number[];
  try {
    ids = log.append(...intents);
  } catch (cause) {
    const names = entries.map((entry) => `${entry.operation} on ${entry.target}`).join(", ");
    const message = `Nothing was done, because it could not be recorded: ${names}`;
    throw notRecorded(message, "", cause);
  }
  return entries.map((entry, index) => startedOperation(log, entry, ids[index]!));
}

function startedOperation(log: Appender, entry: AuditEntry, intent: number): Recorded {
  const { operation, target } = entry;
  const finish = (outcome: Outcome) => {
    try {
      log.append({ operation, target, metadata: outcomeMetadata(intent, outcome) });
    } catch (cause) {
      const ok = outcome.status === "ok";
      const ended = ok ? "was done" : `failed (${messageOf(outcome.error)})`;
      const message = `${operation} on ${target} ${ended}, but this could not be recorded`;
      const hint = `Row ${intent} of \`op-dbus audit log\` stays without an outcome.`;
      throw notRecorded(message, hint, cause, ok ? cause : outcome.error);
    }
  };
  return {
    intent,
    finish,
    async run(action, describe) {
      const startedAt = performance.now();
      const elapsedMs = () => Math.round(performance.now() - startedAt);
      let result;
      try {
        result = await action();
      } catch (error) {
        finish({ status: "failed", durationMs: elapsedMs(), error });
        throw error;
      }
      finish({ status: "ok", durationMs: elapsedMs(), details: describe?.(result) });
      return result;
    },
  };
}

function outcomeMetadata(intent: number, outcome: Outcome): JsonObject {
  const { status, durationMs } = outcome;
  if (status === "ok") return { status, intent, durationMs, ...outcome.details };
  return { status, intent, durationMs, error: messageOf(outcome.error) };
}

/** The error that tells what became of an operation, and why that could not be written, and what mends it. */
export function notRecorded(message: string, hint: string, reason: unknown, cause = reason): UserError {
  const known = reason instanceof UserError ? reason : undefined;
  return new UserError(`${message}. ${messageOf(reason)}`, {
    hint: [hint, known?.hint ?? ""].filter((part) => part !== "").join(" "),
    ...(known && { exitCode: known.exitCode }),
    cause,
  });
}
