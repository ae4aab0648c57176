import { randomUUID } from "node:crypto";
import { dirname } from "node:path";
import { type Actor, notRecorded, record, recordAll } from "../audit/record.ts";
import type { AuditEntry, JsonObject } from "../audit/rows.ts";
import { isNumber, isTable, isText, readWritten, type Shape } from "../config/written-json.ts";
import { messageOf } from "../host/errors.ts";
import type { Host } from "../host/host.ts";
import { holdingSoon } from "../host/until.ts";
import { AUDIT_DATABASE, HOST_STATE, RUNTIME } from "../paths.ts";
import type { Recorder } from "./run-steps.ts";

/** What was done while there was no audit database to write it to; one JSON object a line. */
const JOURNAL = `${HOST_STATE}/install-journal.jsonl`;

interface JournalLine {
  readonly timestamp: number;
  readonly operation: string;
  readonly target: string;
  readonly metadata: JsonObject & { journal: string; started?: string };
}

const SHAPE: Shape<JournalLine> = {
  timestamp: isNumber,
  operation: isText,
  target: isText,
  metadata: (value) => isTable(value) && isText((value as JsonObject)["journal"]),
};

/**
 * Records changes in the audit log, or in a journal while the log does not
 * exist or its disk is full: what makes room must be possible then. The
 * journal is moved into the log as soon as that can be done.
 */
export function journalRecorder(host: Host, actor: Actor): Recorder {
  return async (operation, target, details, change) => {
    const metadata = details as JsonObject;
    if (await isUsable(host)) {
      await drainJournal(host);
      const { openAuditLog } = await import("../audit/audit-log.ts");
      return record(() => openAuditLog(AUDIT_DATABASE), { operation, target, metadata }, actor, change);
    }
    const begun = { ...metadata, status: "started", actor: { ...actor } };
    const intent = await note(host, operation, target, begun).catch((reason: unknown) => {
      const message = `Nothing was done, because it could not be recorded: ${operation} on ${target}`;
      throw notRecorded(message, "", reason);
    });
    const started = performance.now();
    const finish = async (ended: string, outcome: JsonObject, failure?: unknown) => {
      const durationMs = Math.round(performance.now() - started);
      try {
        await note(host, operation, target, { ...outcome, started: intent, durationMs });
      } catch (reason) {
        const message = `${operation} on ${target} ${ended}, but this could not be recorded`;
        throw notRecorded(message, "", reason, failure ?? reason);
      }
    };
    try {
      await change();
    } catch (error) {
      await finish(`failed (${messageOf(error)})`, { status: "failed", error: messageOf(error) }, error);
      throw error;
    }
    await finish("was done", { status: "ok" });
    if (await isUsable(host)) await drainJournal(host);
  };
}

/** Makes a change that may take the record away: its intent goes to the log, its outcome only when it failed. */
export async function recordIntent(
  host: Host,
  actor: Actor,
  entry: AuditEntry,
  change: () => Promise<void>,
): Promise<void> {
  // a full disk is made room on by this very change
  if (!(await isUsable(host))) return change();
  const { openAuditLog } = await import("../audit/audit-log.ts");
  const [one] = recordAll(() => openAuditLog(AUDIT_DATABASE), [entry], actor);
  const started = performance.now();
  try {
    await change();
  } catch (error) {
    try {
      one?.finish({ status: "failed", durationMs: Math.round(performance.now() - started), error });
    } catch {
      // the log is gone already, or out of reach: why the change failed matters more
    }
    throw error;
  }
}

async function isUsable(host: Host): Promise<boolean> {
  if ((await host.stat(AUDIT_DATABASE)) === undefined) return false;
  const { AUDIT_SPACE } = await import("../audit/audit-log.ts");
  return (await host.space(dirname(AUDIT_DATABASE))).free >= AUDIT_SPACE;
}

async function note(host: Host, operation: string, target: string, metadata: JsonObject): Promise<string> {
  const journal = randomUUID();
  const line: JournalLine = {
    timestamp: Math.floor(Date.now() / 1000),
    operation,
    target,
    metadata: { journal, ...metadata },
  };
  await holdingJournal(host, async () => {
    await host.makeDirectory(HOST_STATE, { mode: 0o711 });
    // begins a line of its own also after one that a crash cut short
    await host.appendText(JOURNAL, `\n${JSON.stringify(line)}\n`);
  });
  return journal;
}

/** A line that is added between the reading and the removal of the journal would be lost, and two could move the same. */
async function holdingJournal<T>(host: Host, use: () => Promise<T>): Promise<T> {
  return holdingSoon(host, `${RUNTIME}/journal.lock`, `record, process ${process.pid}`, use);
}

/** Moves what the journal holds to the log; a line that a cut-off run had appended already is left out. */
async function drainJournal(host: Host): Promise<void> {
  if ((await host.stat(JOURNAL)) === undefined) return;
  const { withAuditLog } = await import("../audit/audit-log.ts");
  await holdingJournal(host, async () => {
    const lines = ((await host.readText(JOURNAL)) ?? "").split("\n").flatMap(parseLine);
    await withAuditLog(AUDIT_DATABASE, async (log) => {
      for (const { metadata, ...line } of lines) {
        // an intent may have been moved long before its outcome, and by another process
        const ofSame = log.recent({ operation: line.operation, target: line.target });
        const idOf = (journal: string) =>
          ofSame.find(({ metadata: there }) => (there as JsonObject | null)?.["journal"] === journal)?.id;
        if (idOf(metadata.journal) !== undefined) continue;
        const { started, ...rest } = metadata;
        // an outcome names the row of its intent, which is known only now
        const intent = started === undefined ? undefined : idOf(started);
        log.append({ ...line, metadata: intent === undefined ? rest : { ...rest, intent } });
      }
    });
    await host.remove(JOURNAL);
  });
}

// a line that a crash cut short says nothing: its change had not begun
function parseLine(line: string): JournalLine[] {
  const read = readWritten(line, SHAPE);
  return read === undefined ? [] : [read];
}
