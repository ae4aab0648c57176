import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { openAuditLog, readAuditLog, requireAppendable } from "../../src/audit/audit-log.ts";
import { createAuditLog } from "../../src/audit/create-audit-log.ts";
import { UserError } from "../../src/host/errors.ts";
import { entry, tempDirectory, tempLog } from "./temp-log.ts";

/** Runs something that must be refused. Returns the refusal for people. */
function refusal(work: () => unknown): UserError {
  try {
    work();
  } catch (error) {
    if (error instanceof UserError) return error;
    throw error;
  }
  throw new Error("was not refused");
}

test("reading, and the look whether rows can be appended, change not a byte of the file", () => {
  const { path, log } = tempLog();
  log.append(entry(1));
  log.close();
  const db = new Database(path);
  db.pragma("journal_mode = DELETE");
  db.close();
  const before = readFileSync(path);
  requireAppendable(path);
  const reader = readAuditLog(path, tempDirectory());
  expect(reader.verify()).toMatchObject({ ok: true, rows: 2 });
  reader.close();
  expect(readFileSync(path).equals(before)).toBe(true);
  openAuditLog(path).close();
  expect(readFileSync(path).equals(before)).toBe(false);
});

describe("openAuditLog refuses", () => {
  test("a missing file, without making one", () => {
    const path = join(tempDirectory(), "blockchain.db");
    const { message, hint } = refusal(() => openAuditLog(path));
    expect(message).toBe(`Unable to open the audit log ${path}: it does not exist`);
    expect(hint).toBe("`opdbus-pve install` makes a new one.");
    expect(() => readFileSync(path)).toThrow("ENOENT");
  });

  test("a missing directory, and a file in the place of one", () => {
    const directory = tempDirectory();
    expect(refusal(() => openAuditLog(join(directory, "no/b.db"))).message).toMatch("does not exist");
    writeFileSync(join(directory, "file"), "");
    expect(refusal(() => openAuditLog(join(directory, "file/b.db"))).message).toMatch("does not exist");
  });

  test("a directory and a device", () => {
    const path = join(tempDirectory(), "blockchain.db");
    mkdirSync(path);
    expect(refusal(() => openAuditLog(path)).message).toMatch("it is a directory");
    expect(refusal(() => openAuditLog("/dev/null")).message).toMatch("not a regular file");
  });

  test.for([
    ["an empty file", "", "it is empty"],
    ["one byte", "x", "it is no database"],
    ["a long text", "not a database\n".repeat(1000), "it is damaged (file is not a database)"],
    ["a header without pages", "SQLite format 3\0", "it is no database"],
  ] as const)("%s, leaving it as it is", ([, content, why]) => {
    const path = join(tempDirectory(), "blockchain.db");
    writeFileSync(path, content);
    const { message, hint, exitCode } = refusal(() => openAuditLog(path));
    expect(message).toBe(`Unable to open the audit log ${path}: ${why}`);
    expect(hint).toMatch("Keep the file");
    expect(exitCode).toBe(1);
    expect(createAuditLog(path)).toBe(false);
    expect(readFileSync(path, "utf8")).toBe(content);
  });

  test.for([
    ["PRAGMA journal_mode = DELETE; DROP TABLE operations", "no column id INTEGER PRIMARY KEY"],
    ["ALTER TABLE operations DROP COLUMN embedding", "(no column embedding BLOB)"],
    ["ALTER TABLE operations ADD COLUMN x TEXT", "(unexpected column x TEXT)"],
    ["DROP INDEX idx_target", "(no index idx_target(target))"],
    [
      "DROP INDEX idx_target; CREATE INDEX idx_target ON operations(id)",
      "(no index idx_target(target); unexpected index idx_target(id))",
    ],
    [
      "ALTER TABLE operations RENAME TO o; CREATE VIEW operations AS SELECT * FROM o",
      "no column id INTEGER PRIMARY KEY",
    ],
  ] as const)("another schema: %s", ([sql, why]) => {
    const path = join(tempDirectory(), "blockchain.db");
    createAuditLog(path);
    const db = new Database(path);
    db.exec(sql);
    db.close();
    const before = readFileSync(path);
    const { message } = refusal(() => openAuditLog(path));
    expect(message).toMatch("it has another schema");
    expect(message).toContain(why);
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  test("but not an index or a table of somebody else", () => {
    const path = join(tempDirectory(), "blockchain.db");
    createAuditLog(path);
    const db = new Database(path);
    db.exec("CREATE INDEX idx_hash ON operations(current_hash); CREATE TABLE other (x)");
    db.close();
    const log = openAuditLog(path);
    expect(log.append(entry(1))).toEqual([1]);
    log.close();
  });
});

describe("createAuditLog refuses", () => {
  test("a directory that is not there, a full path that is a directory being left alone", () => {
    const directory = tempDirectory();
    expect(refusal(() => createAuditLog(join(directory, "no", "b.db"))).message).toMatch(
      /^Unable to create the audit log .*ENOENT/,
    );
    expect(createAuditLog(directory)).toBe(false);
  });

  test("to mix a lost log's -wal into a new one", () => {
    const path = join(tempDirectory(), "blockchain.db");
    writeFileSync(`${path}-wal`, "records");
    const { message, hint } = refusal(() => createAuditLog(path));
    expect(message).toContain(`${path}-wal of a lost log`);
    expect(hint).toMatch("move them aside");
    expect(readFileSync(`${path}-wal`, "utf8")).toBe("records");
  });
});

describe("append refuses", () => {
  test("while another process is writing, with exit code 6", () => {
    const { path, log } = tempLog();
    const other = new Database(path);
    other.exec("BEGIN IMMEDIATE");
    const { message, exitCode } = refusal(() => log.append(entry(1)));
    expect(message).toMatch(/^Unable to write to the audit log .*: another process is writing to it/);
    expect(exitCode).toBe(6);
    other.exec("ROLLBACK");
    other.close();
    expect(log.append(entry(1))).toEqual([1]);
  });

  test("when somebody has emptied the table", () => {
    const { path, log } = tempLog();
    const other = new Database(path);
    other.exec("DELETE FROM operations");
    other.close();
    expect(refusal(() => log.append(entry(1))).message).toMatch("it has no genesis row");
    expect(log.verify()).toMatchObject({ ok: false, firstBad: { id: 0 } });
  });
});

// Real mounts, in a mount namespace that ends with the command.
const canMount = spawnSync("unshare", ["-m", "mount", "-t", "tmpfs", "none", "/mnt"]).status === 0;

function inNamespace(script: string, job: string, path: string): string[] {
  const worker = join(import.meta.dirname, "worker.ts");
  const args = ["-m", "sh", "-ec", `${script}; exec "$@"`, "sh", process.execPath, worker, job, path];
  const { stdout, stderr, status } = spawnSync("unshare", args, { encoding: "utf8" });
  expect({ stderr, status }).toEqual({ stderr: "", status: 0 });
  return stdout.split("\n").slice(0, -1);
}

describe.skipIf(!canMount)("on a mounted file system", () => {
  test("that is read-only, opening is refused", () => {
    const directory = tempDirectory();
    const path = join(directory, "blockchain.db");
    createAuditLog(path);
    const script = `mount --bind ${directory} ${directory}; mount -o remount,bind,ro ${directory}`;
    expect(inNamespace(script, "open", path)).toEqual([
      `UserError: Unable to open the audit log ${path}: it is on a read-only file system`,
    ]);
    expect(inNamespace("true", "open", path)).toEqual(["opened"]);
  });

  test.for([
    ["read-only", (path: string) => `mount --bind ${path} ${path}; mount -o remount,bind,ro ${path}`],
    ["full", (path: string) => `cp -a ${path} /mnt/; mount -t tmpfs -o size=1m none ${path}; cp -a /mnt/*/* ${path}`],
  ] as const)("that is %s, the log is read, with what a killed writer left beside it", ([, mount]) => {
    const directory = tempDirectory();
    const path = join(directory, "blockchain.db");
    const killed = spawnSync(process.execPath, [join(import.meta.dirname, "worker.ts"), "die", path]);
    expect(killed.signal).toBe("SIGKILL");
    expect(statSync(`${path}-wal`).size).toBeGreaterThan(0);
    const lines = inNamespace(`mount -t tmpfs none /mnt; ${mount(directory)}`, "read", path);
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({ verdict: { ok: true, rows: 2 }, last: "last" });
    expect(lines[1]).toBe("0");
  });

  test("that is full, appending is refused and the chain stays whole", () => {
    const directory = tempDirectory();
    const path = join(directory, "blockchain.db");
    const lines = inNamespace(`mount -t tmpfs -o size=10m none ${directory}`, "fill", path);
    expect(lines[0]).toBe(`UserError: Unable to write to the audit log ${path}: the disk is full`);
    expect(JSON.parse(lines[1] ?? "")).toMatchObject({ ok: true });
  });
});
