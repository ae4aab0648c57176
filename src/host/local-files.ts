import type { Hash } from "node:crypto";
import * as fs from "node:fs";
import { basename, dirname, join } from "node:path";
import { shellText } from "./command-failed.ts";
import { errnoOf, UserError } from "./errors.ts";
import type { FileAttributes, FileStat, Host } from "./host.ts";
import { parseMountInfo, refuseMountsAt } from "./mounts.ts";

type FileOperations = Omit<Host, "name" | "probe" | "run" | "pipe" | "stream" | "obtain" | "interactive" | "lock">;

/**
 * Errors of system calls that are the machine's state, and no mistake of ours
 * (errno(3)). In a hint PATH is the path that was meant, PLACE what there is of
 * the way to it.
 */
const REFUSALS: Readonly<Record<string, readonly [why: string, hint: string]>> = {
  EACCES: ["permission denied", "run the command as root"],
  EBUSY: ["it is in use", "findmnt -R PATH   # a mount?"],
  EDQUOT: ["the disk quota is used up", "df -h PLACE   # free some space, or raise the quota"],
  EEXIST: ["something is there already", "ls -ld PATH"],
  EIO: ["the disk or its file system failed", "dmesg   # says what the kernel met"],
  EISDIR: ["it is a folder", "ls -ld PATH   # name a file, or move the folder away"],
  ELOOP: ["its links lead in a circle", "namei -l PATH"],
  ENAMETOOLONG: ["the path is too long", "give the path of a file"],
  ENOENT: ["it, or a folder on the way to it, is missing", "namei -l PATH"],
  ENOSPC: ["no space is left on the disk", "df -h PLACE; df -i PLACE   # free some space"],
  ENOTDIR: ["a part of its path is no folder", "namei -l PATH"],
  ENOTEMPTY: ["the folder is not empty", "ls -la PATH"],
  EPERM: ["the system does not allow it", "lsattr -d PATH   # an immutable file?"],
  EROFS: ["the file system is read-only", "findmnt -T PLACE; dmesg   # the kernel turns it read-only after an error"],
};
/** Those that are mistakes of ours. */
const MISTAKES = new Set(["EBADF", "EFAULT", "EINVAL"]);

/**
 * The files of this machine. What the machine refuses (a full disk, a
 * read-only file system) is told to people as such, whoever met it.
 */
// Synchronous calls behind an asynchronous interface: a trip through the thread pool costs more than the call itself.
export const localFiles: FileOperations = {
  readText: looking((path) => unlessMissing(() => fs.readFileSync(path, "utf8"))),
  stat: looking((path) => unlessMissing(() => toFileStat(fs.lstatSync(path)))),
  list: looking((path) => unlessMissing(() => fs.readdirSync(path).toSorted())),
  readLink: looking((path) => unlessMissing(() => fs.readlinkSync(path), "EINVAL")),
  space: looking((path) => {
    const found = fs.statfsSync(path);
    return { total: found.blocks * found.bsize, free: found.bavail * found.bsize };
  }),
  digest: looking(async (path) => {
    // here and not above: most commands digest nothing, and it takes longer to load than our own modules
    const { createHash } = await import("node:crypto");
    return unlessMissing(() => digestFile(path, createHash("sha256")));
  }),
  writeText: changing((path, text: string, attributes?: FileAttributes) =>
    putInPlace(path, (temporary) => createFile(temporary, text, attributes)),
  ),
  createText: changing(createFile),
  appendText: changing((path, text: string) => {
    const file = fs.openSync(path, "a", 0o600);
    try {
      fs.writeFileSync(file, text);
      fs.fsyncSync(file);
    } finally {
      fs.closeSync(file);
    }
  }),
  makeDirectory: changing((path, attributes: FileAttributes = {}) => {
    fs.mkdirSync(path, { recursive: true });
    applyAttributes(path, attributes);
  }),
  makeLink: (target, path) => changing(() => fs.symlinkSync(target, path))(path),
  replaceLink: (target, path) =>
    changing(() => putInPlace(path, (temporary) => fs.symlinkSync(target, temporary)))(path),
  setAttributes: changing(applyAttributes),
  rename: (from, to) =>
    changing(() => {
      fs.renameSync(from, to);
      syncDirectory(dirname(to));
    })(fs.existsSync(from) ? to : from),
  remove: changing((path) => {
    if (fs.lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) {
      const mounts = parseMountInfo(fs.readFileSync("/proc/self/mountinfo", "utf8"));
      refuseMountsAt(mounts, fs.realpathSync(path));
    }
    removeTree(path);
  }),
};

/** Reads what is at a path. */
function looking<Result>(look: (path: string) => Result | Promise<Result>): (path: string) => Promise<Result> {
  return (path) => explained("read", path, () => look(path));
}

/** Changes what is at a path. */
function changing<Rest extends unknown[]>(
  change: (path: string, ...rest: Rest) => void,
): (path: string, ...rest: Rest) => Promise<void> {
  return (path, ...rest) => explained("change", path, () => change(path, ...rest));
}

/** Does work on a path; what the machine refuses is told to people. */
export async function explained<Result>(
  verb: string,
  path: string,
  work: () => Result | Promise<Result>,
): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    const code = errnoOf(error) ?? "";
    if (!(error instanceof Error && "syscall" in error) || MISTAKES.has(code)) throw error;
    // what is not on the list (a damaged file system, EUCLEAN, has no name in Node) says itself what it is
    const [why, hint] = REFUSALS[code] ?? [error.message, "dmesg   # may say what the kernel met"];
    const words = { PATH: () => shellText([path]), PLACE: () => shellText([nearest(path)]) };
    throw new UserError(`Unable to ${verb} ${path}: ${why}`, {
      hint: hint.replaceAll(/PATH|PLACE/g, (word) => words[word as keyof typeof words]()),
      cause: error,
    });
  }
}

/** The path, or the nearest folder on the way to it that is there. */
function nearest(path: string): string {
  return fs.existsSync(path) || path === "/" || path === "." ? path : nearest(dirname(path));
}

function unlessMissing<T>(look: () => T, ...alsoMissing: string[]): T | undefined {
  try {
    return look();
  } catch (error) {
    const code = errnoOf(error) ?? "";
    // ESRCH: a file of /proc whose process is gone
    if (["ENOENT", "ENOTDIR", "ESRCH", ...alsoMissing].includes(code)) return undefined;
    throw error;
  }
}

function toFileStat(found: fs.Stats): FileStat {
  return {
    type: found.isFile() ? "file" : found.isDirectory() ? "directory" : found.isSymbolicLink() ? "link" : "other",
    mode: found.mode & 0o7777,
    uid: found.uid,
    gid: found.gid,
    size: found.size,
    allocated: found.blocks * 512,
    inode: found.ino,
  };
}

function digestFile(path: string, hash: Hash): string {
  const file = fs.openSync(path, "r");
  try {
    const chunk = Buffer.allocUnsafe(1 << 20);
    for (let read; (read = fs.readSync(file, chunk)) > 0;) hash.update(chunk.subarray(0, read));
  } finally {
    fs.closeSync(file);
  }
  return hash.digest("hex");
}

/** By rmSync and not by its asynchronous twin, which goes by paths that others may exchange while it works. */
function removeTree(path: string): void {
  try {
    fs.rmSync(path, { recursive: true, force: true });
  } catch (error) {
    if (errnoOf(error)) throw error;
    // it has no name for most errors, and what keeps the folder itself most often keeps what is in it, too
    const named = failureOf(() => fs.rmdirSync(path));
    throw named !== undefined && errnoOf(named) !== "ENOTEMPTY" ? named : error;
  }
}

function failureOf(work: () => void): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  return undefined;
}

/** Makes something beside its place, and puts it there in one step: whole or not at all, and durably. */
function putInPlace(path: string, make: (temporary: string) => void): void {
  const temporary = temporaryBeside(path);
  try {
    make(temporary);
    fs.renameSync(temporary, path);
  } catch (error) {
    fs.rmSync(temporary, { force: true });
    throw error;
  }
  syncDirectory(dirname(path));
}

function createFile(path: string, text: string, attributes: FileAttributes = {}): void {
  // 0600 until it has its owner: a secret must not be readable for a moment
  const file = fs.openSync(path, "wx", 0o600);
  try {
    fs.writeFileSync(file, text);
    if (attributes.uid !== undefined || attributes.gid !== undefined) {
      fs.fchownSync(file, attributes.uid ?? 0, attributes.gid ?? 0);
    }
    fs.fchmodSync(file, attributes.mode ?? 0o644);
    fs.fsyncSync(file);
  } finally {
    fs.closeSync(file);
  }
}

/** A name for the file while it is written; what killed processes left of earlier attempts goes first. */
function temporaryBeside(path: string): string {
  const start = `.${basename(path)}.opdbus-`;
  sweepDrafts(dirname(path), start);
  return join(dirname(path), `${start}${process.pid}-${Math.random().toString(36).slice(2)}`);
}

/**
 * Removes what processes that are no more had begun to write.
 * @param start how the names of drafts begin; the process follows, and a hyphen
 */
export function sweepDrafts(folder: string, start: string): void {
  for (const name of fs.readdirSync(folder)) {
    const pid = name.startsWith(start) ? name.slice(start.length).split("-")[0] : undefined;
    // another process may be clearing away the same
    if (pid !== undefined && !fs.existsSync(`/proc/${pid}`)) fs.rmSync(join(folder, name), { force: true });
  }
}

function applyAttributes(path: string, attributes: FileAttributes): void {
  if (attributes.uid !== undefined || attributes.gid !== undefined) {
    const found = fs.lstatSync(path);
    fs.lchownSync(path, attributes.uid ?? found.uid, attributes.gid ?? found.gid);
  }
  if (attributes.mode !== undefined) fs.chmodSync(path, attributes.mode);
}

function syncDirectory(path: string): void {
  const directory = fs.openSync(path, "r");
  try {
    fs.fsyncSync(directory);
  } finally {
    fs.closeSync(directory);
  }
}
