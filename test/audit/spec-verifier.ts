import { createHash } from "node:crypto";
import Database from "better-sqlite3";

interface Row {
  id: number;
  timestamp: number;
  operation: string;
  target: string;
  previous_hash: string | null;
  current_hash: string;
  embedding: Buffer | null;
  metadata: string | null;
}

/**
 * A second verifier, written from the specification's text (section 8) alone
 * and sharing no code with src/audit. Takes a database file. Returns its rows
 * and what is wrong with them.
 */
export function verifyBySpec(path: string): { rows: Row[]; problems: string[] } {
  const db = new Database(path, { readonly: true });
  const rows = db.prepare<[], Row>("SELECT * FROM operations ORDER BY id").all();
  db.close();
  const problems: string[] = [];
  const [genesis, ...rest] = rows;
  const wanted = {
    id: 0,
    timestamp: genesis?.timestamp,
    operation: "genesis",
    target: "system",
    previous_hash: null,
    current_hash: "0000000000000000000000000000000000000000000000000000000000000000",
    embedding: null,
    metadata: '{"version": "1.0", "deployment": "operation-dbus"}',
  };
  if (JSON.stringify(genesis) !== JSON.stringify(wanted)) problems.push("genesis");
  let previous = wanted.current_hash;
  for (const [index, row] of rest.entries()) {
    const text = `${row.timestamp}${row.operation}${row.target}${row.previous_hash ?? ""}`;
    const hash = createHash("sha256").update(text, "utf8").digest("hex");
    if (row.id !== index + 1) problems.push(`id ${row.id}`);
    if (row.previous_hash !== previous) problems.push(`previous_hash of ${row.id}`);
    if (row.current_hash !== hash) problems.push(`current_hash of ${row.id}`);
    previous = row.current_hash;
  }
  return { rows, problems };
}
