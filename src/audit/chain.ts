import { createHash } from "node:crypto";
import type Database from "better-sqlite3";

/** The customer's table and indexes (specification, section 8), word for word. */
export const SCHEMA = `
CREATE TABLE operations (
    id INTEGER PRIMARY KEY,
    timestamp INTEGER NOT NULL,
    operation TEXT NOT NULL,
    target TEXT NOT NULL,
    previous_hash TEXT,
    current_hash TEXT NOT NULL,
    embedding BLOB,
    metadata JSON
);
CREATE INDEX idx_timestamp ON operations(timestamp);
CREATE INDEX idx_operation ON operations(operation);
CREATE INDEX idx_target ON operations(target);
`;

const SHAPE = [
  "column id INTEGER PRIMARY KEY",
  "column timestamp INTEGER NOT NULL",
  "column operation TEXT NOT NULL",
  "column target TEXT NOT NULL",
  "column previous_hash TEXT",
  "column current_hash TEXT NOT NULL",
  "column embedding BLOB",
  "column metadata JSON",
  "index idx_timestamp(timestamp)",
  "index idx_operation(operation)",
  "index idx_target(target)",
  "encoding UTF-8",
];

// Further indexes do no harm and are not looked at.
const READ_SHAPE = `
  SELECT 'column ' || name || ' ' || type || iif(pk, ' PRIMARY KEY', '') || iif("notnull", ' NOT NULL', '')
    FROM pragma_table_xinfo('operations')
  UNION ALL
  SELECT 'index ' || list.name || '(' || group_concat(info.name) || ')'
    FROM pragma_index_list('operations') AS list, pragma_index_info(list.name) AS info
    WHERE list.name IN ('idx_timestamp', 'idx_operation', 'idx_target')
    GROUP BY list.name
  UNION ALL
  SELECT 'encoding ' || encoding FROM pragma_encoding`;

/**
 * Compares a database with `SCHEMA` by meaning, not by text: a table made by
 * the customer's own script, comments and all, is the same.
 *
 * Takes an open connection. Returns what is missing or too much, nothing when
 * they agree. Throws SQLite's errors.
 */
export function schemaDifferences(db: Database.Database): string[] {
  const found = db.prepare<[], string>(READ_SHAPE).pluck().all();
  return [
    ...SHAPE.filter((line) => !found.includes(line)).map((line) => `no ${line}`),
    ...found.filter((line) => !SHAPE.includes(line)).map((line) => `unexpected ${line}`),
  ];
}

/**
 * The first row (specification, section 8), but for its timestamp. Its hash is
 * given, not computed: it does not satisfy the formula of the other rows.
 */
export const GENESIS = {
  id: 0,
  operation: "genesis",
  target: "system",
  previousHash: null,
  currentHash: "0".repeat(64),
  embedding: null,
  metadata: '{"version": "1.0", "deployment": "operation-dbus"}',
} as const;

/**
 * The hash of one row: `SHA256(timestamp + operation + target + previous_hash)`
 * without separators (specification, section 8).
 *
 * Takes the timestamp in whole seconds, texts as strings or as their UTF-8
 * bytes, and `null` for a row without a predecessor, which counts as nothing.
 * Returns 64 lower-case hexadecimal digits.
 */
export function entryHash(
  timestamp: number | bigint,
  operation: string | Uint8Array,
  target: string | Uint8Array,
  previousHash: string | null,
): string {
  return createHash("sha256")
    .update(String(timestamp))
    .update(operation)
    .update(target)
    .update(previousHash ?? "")
    .digest("hex");
}
