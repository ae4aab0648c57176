import type Database from "better-sqlite3";
import { UserError } from "../host/errors.ts";
import { entryHash } from "./chain.ts";

/** What JSON can say (RFC 8259). */
export type Json = null | boolean | number | string | Json[] | JsonObject;
/** A JSON object, such as the metadata of a row. */
export type JsonObject = { [key: string]: Json };

/** What to append. Secrets must not be in it: nothing here masks them. */
export interface AuditEntry {
  operation: string;
  target: string;
  /** An object: SQLite's column would store a bare number as a number, not as JSON text. */
  metadata: JsonObject;
  /** When it happened, in seconds since 1970, where that is not now. */
  timestamp?: number;
}

/** One row of the log, as it was written. */
export interface AuditRow {
  id: number;
  /** Seconds since 1970, as the writer's clock said; not necessarily rising. */
  timestamp: number;
  operation: string;
  target: string;
  previousHash: string | null;
  currentHash: string;
  /** What is no JSON (written by others) comes back as its text. */
  metadata: Json;
}

/** Which rows: all conditions must hold; what is left out does not restrict. */
export interface AuditFilter {
  /** At most so many, the newest ones. */
  limit?: number;
  /** First second (since 1970) that counts. */
  since?: number;
  /** Last second that counts. */
  until?: number;
  operation?: string;
  target?: string;
}

/**
 * Appends entries to the chain, all or none. Call it inside an immediate
 * transaction: between reading the head and writing, nobody else may append.
 *
 * Takes the time in seconds, for those that bring none. Returns their ids in the order
 * given. Throws `UserError` when there is no row to append to, and SQLite's errors.
 */
export function appendRows(db: Database.Database, entries: readonly AuditEntry[], now: number): number[] {
  const insert = db.prepare(
    `INSERT INTO operations (id, timestamp, operation, target, previous_hash, current_hash, metadata)
     VALUES (?, ?, ?, ?, ?, ?, ?)`,
  );
  let { id, hash } = readHead(db);
  return entries.map((entry) => {
    // Half a surrogate pair has no UTF-8: what is hashed must be what is stored.
    const operation = entry.operation.toWellFormed();
    const target = entry.target.toWellFormed();
    const timestamp = entry.timestamp ?? now;
    const previousHash = hash;
    id += 1;
    hash = entryHash(timestamp, operation, target, previousHash);
    const metadata = JSON.stringify(entry.metadata);
    insert.run(id, timestamp, operation, target, previousHash, hash, metadata);
    return id;
  });
}

interface Head {
  id: number;
  hash: string;
}

function readHead(db: Database.Database): Head {
  const head = db
    .prepare<[], Head>("SELECT id, current_hash AS hash FROM operations NOT INDEXED ORDER BY id DESC LIMIT 1")
    .get();
  if (head === undefined) {
    throw new UserError(`Unable to append to the audit log ${db.name}: it has no genesis row`, {
      hint: "Somebody emptied it. Check it with `op-dbus audit verify`.",
    });
  }
  return head;
}

type RawRow = Omit<AuditRow, "metadata"> & { metadata: string | null };

// SQLite keeps whatever type somebody writes; a forged row must be one that can be shown
const COLUMNS = `id, timestamp, CAST(operation AS TEXT) AS operation, CAST(target AS TEXT) AS target,
  CAST(previous_hash AS TEXT) AS previousHash, CAST(current_hash AS TEXT) AS currentHash,
  CAST(metadata AS TEXT) AS metadata`;

/** Returns the rows that the filter asks for, newest last. Throws SQLite's errors. */
export function selectRows(db: Database.Database, filter: AuditFilter): AuditRow[] {
  const { limit = -1, since, until, operation, target } = filter;
  const conditions = [
    { sql: "timestamp >= ?", value: since },
    { sql: "timestamp <= ?", value: until },
    { sql: "operation = ?", value: operation },
    { sql: "target = ?", value: target },
  ].filter(({ value }) => value !== undefined);
  const where = ["TRUE", ...conditions.map(({ sql }) => sql)].join(" AND ");
  return db
    .prepare<unknown[], RawRow>(`SELECT ${COLUMNS} FROM operations WHERE ${where} ORDER BY id DESC LIMIT ?`)
    .all(...conditions.map(({ value }) => value), limit)
    .map(toAuditRow)
    .toReversed();
}

/** Returns the intents (`status: "started"`) that no later row names as its `intent`. Throws SQLite's errors. */
export function findUnfinished(db: Database.Database): AuditRow[] {
  const open = new Map<Json, AuditRow>();
  const rows = db.prepare<[], RawRow>(`SELECT ${COLUMNS} FROM operations ORDER BY id`);
  for (const raw of rows.iterate()) {
    const row = toAuditRow(raw);
    if (!isObject(row.metadata)) continue;
    const { status, intent } = row.metadata;
    if (status === "started") open.set(row.id, row);
    else if (intent !== undefined) open.delete(intent);
  }
  return [...open.values()];
}

function isObject(value: Json): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function toAuditRow(row: RawRow): AuditRow {
  return { ...row, metadata: row.metadata === null ? null : parseJson(row.metadata) };
}

function parseJson(text: string): Json {
  try {
    const value: Json = JSON.parse(text);
    return value;
  } catch {
    return text;
  }
}
