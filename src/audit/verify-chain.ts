import Database from "better-sqlite3";
import { entryHash, GENESIS } from "./chain.ts";
import { isDamage } from "./database.ts";

/**
 * What `verifyChain` found. `rows` counts the rows read; `head` is the
 * `current_hash` of the last one. `what` is a sentence without a full stop;
 * `id` is null when the damage is not in one row (an index of the database).
 */
export type AuditVerdict = { ok: true; rows: number; head: string } | { ok: false; rows: number; firstBad: BadRow };

interface BadRow {
  id: number | null;
  what: string;
}

/**
 * Checks the whole chain in one consistent view of the database, row by row.
 *
 * Detects in any row a changed timestamp, operation, target, previous_hash or
 * current_hash (type and bytes, NULL and '' included), a missing or additional
 * row before the last, swapped rows, any change to the genesis row but to its
 * timestamp, and damaged pages or indexes.
 *
 * Cannot detect, because the customer's formula covers none of it: a changed
 * metadata or embedding (of other rows than genesis), the genesis row's
 * timestamp, characters moved between timestamp, operation and target (the
 * formula has no separators), newest rows cut off, rows added at the end with
 * fitting hashes, an older copy of the file put back, and a chain rewritten from
 * any row to its end: whoever can write the file can compute the hashes.
 *
 * Takes an open connection. Returns the verdict. Throws SQLite's errors other
 * than damage (`SQLITE_IOERR`, `SQLITE_BUSY`).
 */
export function verifyChain(db: Database.Database): AuditVerdict {
  const found: Found = { rows: 0, head: "", firstBad: undefined };
  try {
    // One transaction: rows and indexes are looked at in the same state.
    db.transaction(() => walk(db, found)).deferred();
  } catch (error) {
    if (!(error instanceof Database.SqliteError && isDamage(error.code))) throw error;
    const what = `row ${found.rows} cannot be read: ${error.message}`;
    found.firstBad ??= { id: found.rows, what };
  }
  const { rows, head, firstBad } = found;
  return firstBad === undefined ? { ok: true, rows, head } : { ok: false, rows, firstBad };
}

interface Found {
  rows: number;
  head: string;
  firstBad: BadRow | undefined;
}

interface StoredRow {
  id: bigint;
  /** Whatever type the row holds: SQLite's columns take any. */
  timestamp: unknown;
  /** Bytes, or null when it is not text. */
  operation: Uint8Array | null;
  target: Uint8Array | null;
  previous_hash: unknown;
  current_hash: unknown;
  embedding: unknown;
  metadata: unknown;
}

// NOT INDEXED: the table itself is read, whatever the indexes say. Texts come as
// bytes, since decoding hides invalid UTF-8; the long columns only for genesis.
const ROWS = `
  SELECT id, timestamp,
    CASE typeof(operation) WHEN 'text' THEN CAST(operation AS BLOB) END AS operation,
    CASE typeof(target) WHEN 'text' THEN CAST(target AS BLOB) END AS target,
    previous_hash, current_hash,
    CASE id WHEN 0 THEN embedding END AS embedding,
    CASE id WHEN 0 THEN metadata END AS metadata
  FROM operations NOT INDEXED ORDER BY id`;

function walk(db: Database.Database, found: Found): void {
  for (const row of db.prepare<[], StoredRow>(ROWS).safeIntegers().iterate()) {
    found.firstBad ??= checkRow(row, found.rows, found.head);
    found.head = String(row.current_hash);
    found.rows += 1;
  }
  if (found.rows === 0) found.firstBad = missingGenesis;
  found.firstBad ??= checkDatabase(db);
}

const missingGenesis: BadRow = { id: 0, what: "the genesis row is missing" };

function checkRow(row: StoredRow, id: number, previousHash: string): BadRow | undefined {
  if (row.id < BigInt(id)) {
    return { id: Number(row.id), what: `row ${row.id} comes before the genesis row` };
  }
  if (row.id > BigInt(id)) {
    if (id === 0) return missingGenesis;
    return { id, what: `row ${id} is missing: row ${row.id} comes after row ${id - 1}` };
  }
  const what = id === 0 ? checkGenesis(row) : checkLink(row, previousHash);
  return what === undefined ? undefined : { id, what };
}

function checkGenesis(row: StoredRow): string | undefined {
  const wrong = [
    ["timestamp", typeof row.timestamp === "bigint"],
    ["operation", isText(row.operation, GENESIS.operation)],
    ["target", isText(row.target, GENESIS.target)],
    ["previous_hash", row.previous_hash === GENESIS.previousHash],
    ["current_hash", row.current_hash === GENESIS.currentHash],
    ["embedding", row.embedding === GENESIS.embedding],
    ["metadata", row.metadata === GENESIS.metadata],
  ].flatMap(([column, right]) => (right === true ? [] : [column]));
  return wrong.length === 0 ? undefined : `the genesis row was changed (${wrong.join(", ")})`;
}

function isText(bytes: Uint8Array | null, text: string): boolean {
  return bytes !== null && Buffer.compare(bytes, Buffer.from(text)) === 0;
}

function checkLink(row: StoredRow, previousHash: string): string | undefined {
  const { id, timestamp, operation, target } = row;
  if (typeof timestamp !== "bigint") return `row ${id}: the timestamp is not a whole number`;
  if (operation === null) return `row ${id}: the operation is not text`;
  if (target === null) return `row ${id}: the target is not text`;
  if (row.previous_hash !== previousHash) {
    const found = row.previous_hash === null ? "is NULL" : "is not the hash of the row before";
    return `row ${id}: previous_hash ${found}`;
  }
  if (row.current_hash !== entryHash(timestamp, operation, target, previousHash)) {
    return `row ${id}: current_hash does not fit its timestamp, operation, target and previous_hash`;
  }
  return undefined;
}

/** An index that disagrees with the table would hide rows from searches. */
function checkDatabase(db: Database.Database): BadRow | undefined {
  const answer = db.prepare<[], string>("PRAGMA integrity_check(1)").pluck().get() ?? "no answer";
  if (answer === "ok") return undefined;
  return { id: null, what: `the database is damaged: ${answer.split("\n").at(-1)}` };
}
