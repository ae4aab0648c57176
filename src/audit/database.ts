import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { EXIT, UserError } from "../host/errors.ts";

/** What mends a full disk. */
export const MAKE_ROOM =
  "op-dbus status   # shows what fills the pool; container destroy and template remove make room";

/** What to do with a log that cannot be read: it is evidence, so it is kept. */
export const KEEP_AND_REPLACE =
  "Keep the file: move it aside together with its -wal and -shm files. Then put back a copy from @snapshots, or let `opdbus-pve install` make a new log.";

/**
 * Opens an existing database file.
 *
 * Takes its path, how long to wait for another process' transaction, and a
 * check that may refuse the database by throwing. Returns the connection; a
 * commit is on the disk when it returns. Throws SQLite's own errors, see
 * `explaining`.
 */
export function connect(
  path: string,
  busyTimeoutMs: number,
  check: (db: Database.Database) => void = () => {},
): Database.Database {
  const db = new Database(path, {
    fileMustExist: true,
    timeout: busyTimeoutMs,
    ...BINDING,
  });
  try {
    db.pragma("synchronous = FULL");
    check(db);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

const SHIPPED = fileURLToPath(new URL("../native/better_sqlite3.node", import.meta.url));
/**
 * The addon beside the bundle (`<tree>/native`, `<tree>/lib/*.js`); in a checkout better-sqlite3 finds its own.
 * Looked for once: the package may be removed while this runs, and that goes on record.
 */
const BINDING = existsSync(SHIPPED) ? { nativeBinding: SHIPPED } : {};

/**
 * Runs `work` and turns what SQLite or the file system refuse into a sentence
 * for people: "Unable to <doing> the audit log <path>: <why>".
 *
 * Returns what `work` returns. Throws `UserError` for errors of SQLite and of
 * system calls; whatever else `work` throws passes unchanged.
 */
export function explaining<T>(doing: string, path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const reason = reasonFor(error);
    if (reason === undefined) throw error;
    const { why, ...rest } = reason;
    throw new UserError(`Unable to ${doing} the audit log ${path}: ${why}`, {
      ...rest,
      cause: error,
    });
  }
}

interface Reason {
  why: string;
  hint?: string;
  exitCode?: number;
}

function reasonFor(error: unknown): Reason | undefined {
  if (error instanceof Database.SqliteError) return sqliteReason(error.code, error.message);
  if (error instanceof Error && "syscall" in error) return { why: error.message };
  return undefined;
}

function sqliteReason(code: string, message: string): Reason {
  // SQLite makes room for its shared memory file before it writes to it.
  if (code === "SQLITE_IOERR_SHMSIZE") return sqliteReason("SQLITE_FULL", message);
  if (isDamage(code)) return { why: `it is damaged (${message})`, hint: KEEP_AND_REPLACE };
  // Extended codes such as SQLITE_IOERR_WRITE begin with the primary one.
  const [, primary = ""] = code.split("_");
  switch (primary) {
    case "BUSY":
      return {
        why: "another process is writing to it and did not finish in time",
        hint: "Try again; `op-dbus audit log` shows the operations under way.",
        exitCode: EXIT.busy,
      };
    case "FULL":
      return { why: "the disk is full", hint: MAKE_ROOM };
    case "READONLY":
    case "CANTOPEN":
      return {
        why: `it cannot be opened for writing (${message})`,
        hint: "Run the command as root on a file system that is mounted read-write.",
      };
    default:
      return { why: `${message} (${code})`, hint: "Check it with `op-dbus audit verify`." };
  }
}

/**
 * Whether SQLite's error says that the file itself is not a whole database.
 *
 * Takes an error code of SQLite (https://sqlite.org/rescode.html).
 */
export function isDamage(code: string): boolean {
  return code === "SQLITE_NOTADB" || code.startsWith("SQLITE_CORRUPT");
}
