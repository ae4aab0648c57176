import { existsSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import * as fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { openAuditLog } from "../../src/audit/audit-log.ts";
import { createAuditLog } from "../../src/audit/create-audit-log.ts";
import type { JsonObject } from "../../src/audit/rows.ts";
import { verifyBySpec } from "./spec-verifier.ts";
import { entry, tempDirectory, tempLog } from "./temp-log.ts";

// The specification's text, section 8.
const CUSTOMER_SQL = `
CREATE TABLE operations (
    id INTEGER PRIMARY KEY,
    timestamp INTEGER NOT NULL,
    operation TEXT NOT NULL,        -- e.g., "container_create"
    target TEXT NOT NULL,            -- e.g., "web-01"
    previous_hash TEXT,              -- SHA256 of previous operation
    current_hash TEXT NOT NULL,      -- SHA256(timestamp + operation + target + prev_hash)
    embedding BLOB,                  -- 384-dim ML vector
    metadata JSON                    -- Additional context
);
CREATE INDEX idx_timestamp ON operations(timestamp);
CREATE INDEX idx_operation ON operations(operation);
CREATE INDEX idx_target ON operations(target);
INSERT INTO operations VALUES (
    0,
    strftime('%s', 'now'),
    'genesis',
    'system',
    NULL,
    '0000000000000000000000000000000000000000000000000000000000000000',
    NULL,
    '{"version": "1.0", "deployment": "operation-dbus"}'
);`;

function customerDatabase(): string {
  const path = join(tempDirectory(), "blockchain.db");
  const db = new Database(path);
  db.exec(CUSTOMER_SQL);
  db.close();
  return path;
}

/** What SQLite makes of a database: its schema without comments and spaces, and the genesis row but for its time. */
function essence(path: string): unknown {
  const db = new Database(path, { readonly: true });
  onTestFinished(() => void db.close());
  const schema = db
    .prepare<[], string>("SELECT sql FROM sqlite_schema ORDER BY name")
    .pluck()
    .all()
    .map((sql) => sql.replaceAll(/--.*|\s+/g, ""));
  const genesis = db
    .prepare(
      `SELECT id, typeof(timestamp), operation, target, previous_hash, current_hash, embedding,
         metadata, typeof(metadata) FROM operations`,
    )
    .all();
  return { schema, genesis };
}

describe("createAuditLog", () => {
  test("makes what the customer's SQL makes", () => {
    const path = join(tempDirectory(), "blockchain.db");
    expect(createAuditLog(path)).toBe(true);
    expect(essence(path)).toEqual(essence(customerDatabase()));
  });

  test("deletes what a dead process had begun, and nothing that lives", () => {
    const directory = tempDirectory();
    const path = join(directory, "blockchain.db");
    const living = `blockchain.db.new-${process.ppid}-6c0f7a52`;
    for (const name of ["blockchain.db.new-4194304999-6c0f7a52", "blockchain.db.new-4194304999-6c0f7a52-wal", living]) {
      writeFileSync(join(directory, name), "half");
    }
    expect(createAuditLog(path)).toBe(true);
    expect(readdirSync(directory)).toEqual(["blockchain.db", living]);
  });

  test("uses the clock in seconds, makes one file of mode 0600, and leaves an existing one alone", () => {
    const umask = process.umask(0);
    onTestFinished(() => void process.umask(umask));
    const directory = tempDirectory();
    const path = join(directory, "blockchain.db");
    expect(createAuditLog(path, () => 1_700_000_000_999)).toBe(true);
    expect(createAuditLog(path, () => 1_800_000_000_000)).toBe(false);
    expect(readdirSync(directory)).toEqual(["blockchain.db"]);
    expect(verifyBySpec(path).rows[0]?.timestamp).toBe(1_700_000_000);
    const log = openAuditLog(path);
    log.append(entry(1));
    const modes = readdirSync(directory).map((name) => statSync(join(directory, name)).mode & 0o777);
    expect(modes).toEqual([0o600, 0o600, 0o600]);
    log.close();
  });
});

describe("append", () => {
  test("hashes as the specification says", () => {
    const { path, log } = tempLog(() => 1_700_000_001_000);
    expect(
      log.append(
        { operation: "container_create", target: "web-01", metadata: { b: 1, a: [null] } },
        { operation: "contêiner", target: "🐙", metadata: {} },
      ),
    ).toEqual([1, 2]);
    // printf %s 1700000001container_createweb-01000…000 | sha256sum, and so on.
    const first = "83ad5916bbf46045f6b027c76321d93354efb7f1acca2cefbeabb0acaf5c18f5";
    const second = "8792ce55e198a59cfb6aa933b4b7c173b684267db04cc5d7391b9f52e95d2f99";
    const { rows } = verifyBySpec(path);
    expect(rows.slice(1)).toEqual([
      {
        id: 1,
        timestamp: 1_700_000_001,
        operation: "container_create",
        target: "web-01",
        previous_hash: "0".repeat(64),
        current_hash: first,
        embedding: null,
        metadata: '{"b":1,"a":[null]}',
      },
      {
        id: 2,
        timestamp: 1_700_000_001,
        operation: "contêiner",
        target: "🐙",
        previous_hash: first,
        current_hash: second,
        embedding: null,
        metadata: "{}",
      },
    ]);
    expect(log.verify()).toEqual({ ok: true, rows: 3, head: second });
  });

  test("continues a log made by the customer's own script", () => {
    const path = customerDatabase();
    const log = openAuditLog(path);
    expect(log.append(entry(1), entry(2))).toEqual([1, 2]);
    expect(log.verify()).toMatchObject({ ok: true, rows: 3 });
    log.close();
    expect(existsSync(`${path}-wal`)).toBe(false);
    expect(verifyBySpec(path).problems).toEqual([]);
  });

  test("records a clock that goes backwards without breaking the chain", () => {
    let clock = 1_700_000_000_000;
    const { path, log } = tempLog(() => (clock -= 5_000_500));
    for (let n = 1; n <= 5; n += 1) log.append(entry(n));
    const times = log.recent({}).map((row) => row.timestamp);
    expect(times).toEqual(times.toSorted((a, b) => b - a));
    expect(log.verify()).toMatchObject({ ok: true, rows: 6 });
    expect(verifyBySpec(path).problems).toEqual([]);
  });

  test("appends all or none", () => {
    const { path, log } = tempLog();
    const broken: JsonObject = {};
    broken["self"] = broken;
    expect(() => log.append(entry(1), { ...entry(2), metadata: broken })).toThrow(/circular/i);
    expect(log.append()).toEqual([]);
    expect(log.append(entry(3))).toEqual([1]);
    expect(verifyBySpec(path)).toMatchObject({ problems: [], rows: { length: 2 } });
  });

  test("keeps any text and metadata, in a chain that both verifiers accept", { timeout: 60_000 }, () => {
    const utf16 = fc.string({ unit: fc.nat(0xffff).map((code) => String.fromCharCode(code)) });
    const text = fc.oneof(fc.string({ unit: "binary" }), utf16);
    // Through JSON and back: the log keeps what JSON keeps (no -0, no key "__proto__").
    const metadata = fc.dictionary(text, fc.jsonValue()).map((value): JsonObject => JSON.parse(JSON.stringify(value)));
    const entries = fc.array(fc.record({ operation: text, target: text, metadata }));
    fc.assert(
      fc.property(fc.array(entries, { maxLength: 5 }), (groups) => {
        const { path, log } = tempLog();
        const ids = groups.flatMap((group) => log.append(...group));
        const all = groups.flat();
        expect(ids).toEqual(all.map((_, index) => index + 1));
        expect(
          log
            .recent({})
            .slice(1)
            .map((row) => [row.operation, row.target, JSON.stringify(row.metadata)]),
        ).toEqual(
          all.map((one) => [one.operation.toWellFormed(), one.target.toWellFormed(), JSON.stringify(one.metadata)]),
        );
        expect(log.verify()).toMatchObject({ ok: true, rows: all.length + 1 });
        expect(verifyBySpec(path).problems).toEqual([]);
        log.close();
      }),
      { numRuns: 60 },
    );
  });
});

describe("recent", () => {
  test("filters, newest last", () => {
    let seconds = 100;
    const { log } = tempLog(() => seconds * 1000);
    for (const [operation, target] of [
      ["create", "a"],
      ["create", "b"],
      ["delete", "a"],
      ["create", "c"],
    ] as const) {
      seconds += 10;
      log.append({ operation, target, metadata: {} });
    }
    const ids = (filter: Parameters<typeof log.recent>[0]) => log.recent(filter).map(({ id }) => id);
    expect(ids({})).toEqual([0, 1, 2, 3, 4]);
    expect(ids({ limit: 2 })).toEqual([3, 4]);
    expect(ids({ limit: 0 })).toEqual([]);
    expect(ids({ since: 120 })).toEqual([2, 3, 4]);
    expect(ids({ until: 120 })).toEqual([0, 1, 2]);
    expect(ids({ since: 121, until: 139 })).toEqual([3]);
    expect(ids({ operation: "create" })).toEqual([1, 2, 4]);
    expect(ids({ operation: "create", limit: 2 })).toEqual([2, 4]);
    expect(ids({ operation: "create", target: "a" })).toEqual([1]);
    expect(ids({ target: "a' OR 1=1 --" })).toEqual([]);
  });

  test("gives metadata that is no JSON as text", () => {
    const { path, log } = tempLog();
    log.append(entry(1), entry(2), entry(3));
    const db = new Database(path);
    const write = db.prepare("UPDATE operations SET metadata = ? WHERE id = ?");
    write.run("no json", 1);
    write.run(null, 2);
    write.run("7", 3); // SQLite stores it as a number: JSON is a numeric type to it.
    db.close();
    expect(log.recent({}).map((row) => row.metadata)).toEqual([
      { version: "1.0", deployment: "operation-dbus" },
      "no json",
      null,
      7,
    ]);
    expect(log.unfinished()).toEqual([]);
  });
});
