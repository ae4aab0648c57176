import { closeSync, copyFileSync, openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { openAuditLog } from "../../src/audit/audit-log.ts";
import { createAuditLog } from "../../src/audit/create-audit-log.ts";
import type { AuditVerdict } from "../../src/audit/verify-chain.ts";
import { UserError } from "../../src/host/errors.ts";
import { verifyBySpec } from "./spec-verifier.ts";
import { entry, tempDirectory } from "./temp-log.ts";

const LAST = 5;

/** Makes a log of rows 0 to LAST, lets somebody at its database, and returns the verdict. */
function verdictAfter(tamper: (db: Database.Database) => void): AuditVerdict {
  const path = join(tempDirectory(), "blockchain.db");
  createAuditLog(path);
  const log = openAuditLog(path);
  log.append(...[1, 2, 3, 4, LAST].map(entry));
  log.close();
  const db = new Database(path);
  tamper(db);
  db.close();
  const tampered = openAuditLog(path);
  const verdict = tampered.verify();
  tampered.close();
  return verdict;
}

const sql = (text: string) => verdictAfter((db) => db.exec(text));

const rows = [1, 3, LAST];
const changes = [
  ["timestamp", "timestamp + 1"],
  ["timestamp", "-timestamp"],
  ["timestamp", "timestamp + 0.5"],
  ["timestamp", "'yesterday'"],
  ["timestamp", "9223372036854775807"],
  ["operation", "operation || ' '"],
  ["operation", "''"],
  ["operation", "upper(operation)"],
  ["operation", "CAST(operation AS BLOB)"],
  ["operation", "operation || char(0)"],
  ["target", "target || 'x'"],
  ["target", "''"],
  ["target", "CAST(target AS BLOB)"],
  ["target", "CAST(CAST(target AS BLOB) || x'ff' AS TEXT)"],
  ["previous_hash", "NULL"],
  ["previous_hash", "''"],
  ["previous_hash", "upper(previous_hash) || ' '"],
  ["previous_hash", "CAST(previous_hash AS BLOB)"],
  ["previous_hash", "(SELECT current_hash FROM operations WHERE id = 2) || ''"],
  ["current_hash", "''"],
  ["current_hash", "upper(current_hash)"],
  ["current_hash", "CAST(current_hash AS BLOB)"],
  ["current_hash", "printf('%064d', 0)"],
] as const;

describe("verify names the row", () => {
  test.for(rows.flatMap((id) => changes.map(([column, value]) => ({ id, column, value }))))(
    "$id: $column = $value",
    ({ id, column, value }) => {
      const unchanged = id === 3 && value.includes("WHERE id = 2"); // that is what it was
      const verdict = sql(`UPDATE operations SET ${column} = ${value} WHERE id = ${id}`);
      expect(verdict).toMatchObject(
        unchanged
          ? { ok: true }
          : {
              ok: false,
              rows: LAST + 1,
              firstBad: { id, what: expect.stringContaining(`row ${id}`) },
            },
      );
    },
  );

  test.for([
    ["timestamp", "'then'"],
    ["operation", "'Genesis'"],
    ["operation", "CAST(operation AS BLOB)"],
    ["target", "'systems'"],
    ["previous_hash", "''"],
    ["current_hash", "printf('%063d', 0)"],
    ["embedding", "x''"],
    ["metadata", "NULL"],
    ["metadata", `'{"version":"1.0","deployment":"operation-dbus"}'`],
    ["metadata", "CAST(metadata AS BLOB)"],
  ] as const)("genesis: %s = %s", ([column, value]) => {
    expect(sql(`UPDATE operations SET ${column} = ${value} WHERE id = 0`)).toMatchObject({
      ok: false,
      firstBad: { id: 0, what: `the genesis row was changed (${column})` },
    });
  });

  test.for([
    ["DELETE FROM operations", 0, "the genesis row is missing"],
    ["DELETE FROM operations WHERE id = 0", 0, "the genesis row is missing"],
    ["DELETE FROM operations WHERE id = 1", 1, "row 1 is missing: row 2 comes after row 0"],
    ["DELETE FROM operations WHERE id IN (3, 4)", 3, "row 3 is missing: row 5 comes after row 2"],
    ["UPDATE operations SET id = 9 WHERE id = 5", 5, "row 5 is missing: row 9 comes after row 4"],
    ["UPDATE operations SET id = id + 1 WHERE id > 4", 5, "row 5 is missing: row 6 comes after row 4"],
    [
      "UPDATE operations SET id = -1 WHERE id = 2; UPDATE operations SET id = 2 WHERE id = 3; UPDATE operations SET id = 3 WHERE id = -1",
      2,
      "row 2: previous_hash is not the hash of the row before",
    ],
    [
      "DELETE FROM operations WHERE id = 3; UPDATE operations SET id = id - 1 WHERE id > 3",
      3,
      "row 3: previous_hash is not the hash of the row before",
    ],
    [
      "INSERT INTO operations SELECT -1, timestamp, operation, target, previous_hash, current_hash, NULL, metadata FROM operations WHERE id = 0",
      -1,
      "row -1 comes before the genesis row",
    ],
    [
      "INSERT INTO operations SELECT 6, timestamp, operation, target, previous_hash, current_hash, NULL, metadata FROM operations WHERE id = 0",
      6,
      "row 6: previous_hash is NULL",
    ],
    [
      "INSERT INTO operations SELECT 6, timestamp, operation, target, previous_hash, current_hash, NULL, metadata FROM operations WHERE id = 5",
      6,
      "row 6: previous_hash is not the hash of the row before",
    ],
  ] as const)("%s", ([statement, id, what]) => {
    expect(sql(statement)).toMatchObject({ ok: false, firstBad: { id, what } });
  });
});

// The docstring of verifyChain promises no more than this; a later form of the log may.
test.for([
  "UPDATE operations SET metadata = '{}', embedding = x'00' WHERE id = 3",
  "UPDATE operations SET timestamp = 1 WHERE id = 0",
  "UPDATE operations SET operation = operation || 't', target = substr(target, 2) WHERE id = 3",
  "DELETE FROM operations WHERE id > 3",
])("verify cannot see: %s", (statement) => {
  expect(sql(statement)).toMatchObject({ ok: true });
});

test("an index that hides a row is found", () => {
  const verdict = verdictAfter((db) => {
    db.unsafeMode();
    const restore = db.prepare("SELECT * FROM sqlite_schema WHERE name = 'idx_target'").raw().get();
    db.pragma("writable_schema = ON");
    db.exec("DELETE FROM sqlite_schema WHERE name = 'idx_target'");
    db.pragma("writable_schema = RESET");
    db.exec(
      "DELETE FROM operations WHERE id = 5; INSERT INTO operations SELECT * FROM (SELECT 5, 0, '', '', '', '', NULL, NULL) WHERE FALSE",
    );
    db.pragma("writable_schema = ON");
    db.prepare("INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)").run(restore);
    db.pragma("writable_schema = RESET");
  });
  expect(verdict).toMatchObject({ ok: false, rows: LAST, firstBad: { id: null } });
});

test("a damaged page is found, whichever it is", () => {
  const path = join(tempDirectory(), "blockchain.db");
  createAuditLog(path);
  const log = openAuditLog(path);
  log.append(...Array.from({ length: 100 }, (_, n) => entry(n)));
  log.close();
  expect(verifyBySpec(path).problems).toEqual([]);
  const pages = readFileSync(path).length / 4096;
  expect(pages).toBeGreaterThan(5);
  for (let page = 0; page < pages; page += 1) {
    const damaged = `${path}.${page}`;
    copyFileSync(path, damaged);
    const fd = openSync(damaged, "r+");
    writeSync(fd, Buffer.alloc(4096, 0xff), 0, 4096, page * 4096);
    closeSync(fd);
    expect(judge(damaged), `page ${page}`).toBe(page === 0 ? "refused" : "bad");
  }
});

function judge(path: string): "good" | "bad" | "refused" {
  try {
    const log = openAuditLog(path);
    const { ok } = log.verify();
    log.close();
    return ok ? "good" : "bad";
  } catch (error) {
    if (error instanceof UserError) return "refused";
    throw error;
  }
}
