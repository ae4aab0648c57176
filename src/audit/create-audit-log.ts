import { randomUUID } from "node:crypto";
import { closeSync, existsSync, fsyncSync, linkSync, openSync, rmSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { UserError } from "../host/errors.ts";
import { sweepDrafts } from "../host/local-files.ts";
import { GENESIS, SCHEMA } from "./chain.ts";
import { connect, explaining } from "./database.ts";

/**
 * Makes the audit log: the customer's table, indexes and genesis row, mode 0600.
 *
 * Takes the path of the database file and the clock (milliseconds, as
 * `Date.now`). Returns whether it was made; a file that is there already is
 * left alone, and `openAuditLog` judges it. The log is built under a temporary
 * name and linked to its own, so that a crash leaves either no log or a whole
 * one (and perhaps a draft, which the next call deletes), and that of several
 * processes one makes it. Throws `UserError` when the directory cannot be written, and
 * when a write-ahead log without its database lies there.
 */
export function createAuditLog(path: string, now: () => number = Date.now): boolean {
  // In this order: a log made meanwhile by another process has its file before its -wal.
  const leftovers = [`${path}-wal`, `${path}-journal`].filter((file) => existsSync(file));
  if (existsSync(path)) return false;
  // SQLite would replay them into the new database.
  if (leftovers.length > 0) {
    throw new UserError(
      `Unable to create the audit log ${path}: ${leftovers.join(" and ")} of a lost log would be mixed into it`,
      { hint: "They may hold the last records of that log: move them aside, then try again." },
    );
  }
  return explaining("create", path, () => {
    sweepDrafts(dirname(path), `${basename(path)}${DRAFT}`);
    const draft = `${resolve(path)}${DRAFT}${process.pid}-${randomUUID()}`;
    try {
      writeDraft(draft, Math.floor(now() / 1000));
      return linkIfAbsent(draft, path);
    } finally {
      for (const suffix of ["", "-wal", "-shm"]) rmSync(`${draft}${suffix}`, { force: true });
    }
  });
}

const DRAFT = ".new-";

function writeDraft(draft: string, timestamp: number): void {
  // SQLite gives its side files the mode of the main one, so the mode comes first.
  closeSync(openSync(draft, "wx", 0o600));
  const db = connect(draft, 0);
  try {
    db.pragma("journal_mode = WAL");
    db.transaction(() => {
      db.exec(SCHEMA);
      const values = "@id, @timestamp, @operation, @target, @previousHash, @currentHash, @embedding, @metadata";
      db.prepare(`INSERT INTO operations VALUES (${values})`).run({ ...GENESIS, timestamp });
    }).immediate();
  } finally {
    // Closing moves the write-ahead log into the file, which must go by itself.
    db.close();
  }
  fsyncPath(draft);
}

function linkIfAbsent(draft: string, path: string): boolean {
  try {
    linkSync(draft, path);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return false;
    throw error;
  }
  fsyncPath(dirname(path));
  return true;
}

function fsyncPath(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
