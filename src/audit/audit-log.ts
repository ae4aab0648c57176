import {
  accessSync,
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statfsSync,
  statSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import type Database from "better-sqlite3";
import { UserError } from "../host/errors.ts";
import { schemaDifferences } from "./chain.ts";
import { connect, explaining, KEEP_AND_REPLACE, MAKE_ROOM } from "./database.ts";
import { appendRows, type AuditEntry, type AuditFilter, type AuditRow, findUnfinished, selectRows } from "./rows.ts";
import { type AuditVerdict, verifyChain } from "./verify-chain.ts";

/** Every method throws `UserError` when the database is damaged or out of reach. */
export interface AuditReader {
  /** Returns the rows that the filter asks for, newest last. */
  recent(filter: AuditFilter): AuditRow[];
  /** Checks the chain; see `verifyChain` for what that can and cannot detect. */
  verify(): AuditVerdict;
  /** Returns the intents without an outcome: under way (their actor has pid and node) or cut off by a crash. */
  unfinished(): AuditRow[];
  /** Closes the database; no other method may be called after it. */
  close(): void;
}

/** The audit log, open for reading and appending. */
export interface AuditLog extends AuditReader {
  /**
   * Appends all or none, on the disk when it returns. Returns the ids in the
   * order given. Throws `UserError` also when the database is busy or the disk full.
   */
  append(...entries: AuditEntry[]): number[];
}

/** What tests replace of the world around the log. */
export interface AuditLogOptions {
  /** The clock in milliseconds, as `Date.now`. */
  now?: () => number;
  /** How long to wait for another process' transaction. */
  busyTimeoutMs?: number;
}

/**
 * Opens the audit log for reading and appending.
 *
 * Takes the path of the database file, which `createAuditLog` has made.
 * Throws `UserError` when it is missing, empty, no SQLite database, damaged,
 * has another schema, or cannot be written (read-only file system, no right,
 * full disk). Close it before anything that can fill the disk: SQLite writes
 * its -shm file through a memory map, to which BTRFS on a full disk answers
 * with SIGBUS.
 */
export function openAuditLog(path: string, options: AuditLogOptions = {}): AuditLog {
  const { now = Date.now, busyTimeoutMs = 10_000 } = options;
  requireAppendable(path);
  const db = open(path, path, busyTimeoutMs);
  explaining("open", path, () => db.pragma("journal_mode = WAL"));
  const append = db.transaction((entries: AuditEntry[]) => appendRows(db, entries, Math.floor(now() / 1000)));
  return {
    ...readerOf(db, path),
    append(...entries) {
      requireSpace(path);
      return explaining("write to", path, () => append.immediate(entries));
    },
  };
}

/** Throws `UserError` as `openAuditLog` does when rows could not be appended; changes nothing. */
export function requireAppendable(path: string): void {
  checkFile(path);
  requireWritable(path);
  requireSpace(path);
}

/**
 * Opens the audit log for reading.
 *
 * Takes the path of the database file, and a folder on another file system
 * (made where missing): SQLite reads a write-ahead log only where it can write
 * beside it, so on a full disk or a read-only file system, where nobody appends
 * either, a copy is made there and read. Throws `UserError` as `openAuditLog` does.
 */
export function readAuditLog(path: string, scratch: string): AuditReader {
  checkFile(path);
  if (canBeWritten(path) && hasSpace(path)) {
    const db = open(path, path);
    db.pragma("query_only = ON");
    return readerOf(db, path);
  }
  return explaining("read", path, () => {
    mkdirSync(scratch, { recursive: true });
    const folder = mkdtempSync(join(scratch, ".audit-"));
    try {
      const copy = join(folder, "copy.db");
      for (const suffix of ["", "-wal"]) {
        if (existsSync(`${path}${suffix}`)) copyFileSync(`${path}${suffix}`, `${copy}${suffix}`);
      }
      return readerOf(open(copy, path), path);
    } finally {
      // what is open stays readable, and cannot be left behind
      rmSync(folder, { recursive: true });
    }
  });
}

/** Opens the file at `at`; messages name `path`. */
function open(at: string, path: string, busyTimeoutMs = 10_000): Database.Database {
  return explaining("open", path, () =>
    // An absolute path: better-sqlite3 gives meaning to ":memory:" and "file:".
    connect(resolve(at), busyTimeoutMs, (opened) => checkSchema(opened, path)),
  );
}

function readerOf(db: Database.Database, path: string): AuditReader {
  return {
    recent: (filter) => explaining("read", path, () => selectRows(db, filter)),
    verify: () => explaining("verify", path, () => verifyChain(db)),
    unfinished: () => explaining("read", path, () => findUnfinished(db)),
    close: () => void explaining("close", path, () => db.close()),
  };
}

/** Opens the audit log for as long as `use` runs; returns what that returns. Throws as `openAuditLog` does, and as `use`. */
export async function withAuditLog<T>(path: string, use: (log: AuditLog) => Promise<T>): Promise<T> {
  const log = openAuditLog(path);
  try {
    return await use(log);
  } finally {
    log.close();
  }
}

/** Bytes; no SQLite database is smaller (https://sqlite.org/fileformat.html, 1.3.2). */
const SMALLEST_PAGE = 512;

/** Refuses what SQLite would open: a file of a byte or none, which it makes a database of. */
function checkFile(path: string): void {
  const file = explaining("open", path, () => statSync(path, { throwIfNoEntry: false }));
  if (file === undefined) {
    throw refusal(path, "it does not exist", "`opdbus-pve install` makes a new one.");
  }
  if (!file.isFile()) {
    const what = file.isDirectory() ? "a directory" : "not a regular file";
    const hint = "Move it aside, then let `opdbus-pve install` make a new log.";
    throw refusal(path, `it is ${what}`, hint);
  }
  if (file.size < SMALLEST_PAGE) {
    throw refusal(path, file.size === 0 ? "it is empty" : "it is no database", KEEP_AND_REPLACE);
  }
}

function checkAccess(path: string): void {
  accessSync(path, constants.R_OK | constants.W_OK);
  accessSync(dirname(path), constants.W_OK); // for the -wal and -shm files
}

function canBeWritten(path: string): boolean {
  try {
    checkAccess(path);
    return true;
  } catch {
    return false;
  }
}

function requireWritable(path: string): void {
  try {
    checkAccess(path);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EROFS") {
      const hint = "Mount it read-write. To look into a snapshot, copy the file to a writable directory.";
      throw refusal(path, "it is on a read-only file system", hint, error);
    }
    throw refusal(path, "it may not be written", "Run the command as root.", error);
  }
}

/** Bytes that must be free for SQLite's side files to be written. */
export const AUDIT_SPACE = 8 * 2 ** 20;

function hasSpace(path: string): boolean {
  const { bavail, bsize } = explaining("open", path, () => statfsSync(dirname(path)));
  return bavail * bsize >= AUDIT_SPACE;
}

function requireSpace(path: string): void {
  if (hasSpace(path)) return;
  throw new UserError(`Unable to write to the audit log ${path}: the disk is full`, {
    hint: MAKE_ROOM,
  });
}

function checkSchema(db: Database.Database, path: string): void {
  const differences = schemaDifferences(db);
  if (differences.length > 0) {
    throw refusal(path, `it has another schema (${differences.join("; ")})`, KEEP_AND_REPLACE);
  }
}

function refusal(path: string, why: string, hint: string, cause?: unknown): UserError {
  return new UserError(`Unable to open the audit log ${path}: ${why}`, { hint, cause });
}
