import { EXIT, UserError } from "../host/errors.ts";
import type { Json } from "../audit/rows.ts";
import { requirePool } from "../pool/find-pool.ts";
import { type CommonOptions, readingAuditLog, runCommand } from "./session.ts";
import { wholeNumber } from "./numbers.ts";

interface LogOptions extends CommonOptions {
  readonly lines: string;
  readonly operation?: string;
  readonly target?: string;
}

/** `op-dbus audit log` */
export async function log(options: LogOptions): Promise<void> {
  await runCommand(options, async ({ host, out, json }) => {
    const { operation, target } = options;
    const limit = wholeNumber("--lines", options.lines);
    await requirePool(host);
    const rows = await readingAuditLog((audit) =>
      audit.recent({
        limit,
        ...(operation === undefined ? {} : { operation }),
        ...(target === undefined ? {} : { target }),
      }),
    );
    if (json) return out.json({ schema: 1, rows });
    out.table(
      ["ID", "TIME (UTC)", "OPERATION", "TARGET", "STATUS", "BY", "HASH"],
      rows.map((row) => [
        String(row.id),
        timeOf(row.timestamp),
        row.operation,
        row.target,
        statusOf(row.metadata),
        actorOf(row.metadata),
        row.currentHash.slice(0, 12),
      ]),
    );
  });
}

/** In words of its own where it is none: a row that somebody forged is shown, too. */
function timeOf(timestamp: number): string {
  const date = new Date(timestamp * 1000);
  if (Number.isNaN(date.getTime())) return String(timestamp);
  return date.toISOString().slice(0, 19).replace("T", " ");
}

function statusOf(metadata: Json): string {
  const { status, durationMs, intent } = fields(metadata);
  if (typeof status !== "string") return "";
  const length = typeof durationMs === "number" ? `, ${durationMs} ms` : "";
  return `${status}${typeof intent === "number" ? ` (${intent})` : ""}${length}`;
}

function actorOf(metadata: Json): string {
  const { user, sudoUser } = fields(fields(metadata)["actor"] ?? null);
  return typeof sudoUser === "string" ? `${sudoUser} (sudo)` : typeof user === "string" ? user : "";
}

function fields(value: Json): Record<string, Json | undefined> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value : {};
}

/** `op-dbus audit verify`: exit code 5 when a row is not what it was. */
export async function verify(options: CommonOptions): Promise<void> {
  await runCommand(options, async ({ host, out, json }) => {
    await requirePool(host);
    const { verdict, unfinished } = await readingAuditLog((audit) => ({
      verdict: audit.verify(),
      unfinished: audit.unfinished(),
    }));
    if (json) out.json({ schema: 1, ...verdict, unfinished: unfinished.map(({ id }) => id) });
    if (!verdict.ok) {
      throw new UserError(
        `The audit log was tampered with or damaged: ${verdict.firstBad.id === null ? "" : `row ${verdict.firstBad.id}: `}${verdict.firstBad.what}`,
        {
          hint: "op-dbus audit log   # and compare with a copy kept elsewhere",
          exitCode: EXIT.unverified,
        },
      );
    }
    if (json) return;
    out.print(`${verdict.rows} rows, every hash fits the one before; head ${verdict.head}`);
    for (const { id, operation, target } of unfinished)
      out.print(`unfinished: row ${id}, ${operation} on ${target}: begun, and no outcome was written`);
  });
}
