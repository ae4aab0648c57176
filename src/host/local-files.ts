import type { Hash } from "node:crypto";
import * as fs from "node:fs";
import { basename, dirname, join } from "node:path";
import { UserError } from "./errors.ts";
import type { FileAttributes, FileStat, Host } from "./host.ts";

type FileOperations = Omit<Host, "name" | "probe" | "run" | "pipe" | "interactive" | "lock">;

// Synchronous calls behind an asynchronous interface: a trip through the thread pool costs more than the call itself.
const operations: FileOperations = {
  async readText(path) {
    return unlessMissing(() => fs.readFileSync(path, "utf8"));
  },
  async stat(path) {
    return unlessMissing(() => toFileStat(fs.lstatSync(path)));
  },
  async list(path) {
    return unlessMissing(() => fs.readdirSync(path).toSorted());
  },
  async readLink(path) {
    return unlessMissing(() => fs.readlinkSync(path), "EINVAL");
  },
  async space(path) {
    const found = fs.statfsSync(path);
    return { total: found.blocks * found.bsize, free: found.bavail * found.bsize };
  },
  async digest(path) {
    // here and not above: most commands digest nothing, and it takes longer to load than our own modules
    const { createHash } = await import("node:crypto");
    return unlessMissing(() => digestFile(path, createHash("sha256")));
  },
  async writeText(path, text, attributes = {}) {
    writeWhole(path, text, attributes);
  },
  async createText(path, text, attributes = {}) {
    createFile(path, text, attributes);
  },
  async appendText(path, text) {
    const file = fs.openSync(path, "a", 0o600);
    try {
      fs.writeFileSync(file, text);
      fs.fsyncSync(file);
    } finally {
      fs.closeSync(file);
    }
  },
  async makeDirectory(path, attributes = {}) {
    fs.mkdirSync(path, { recursive: true });
    applyAttributes(path, attributes);
  },
  async makeLink(target, path) {
    fs.symlinkSync(target, path);
  },
  async replaceLink(target, path) {
    const temporary = temporaryBeside(path);
    fs.symlinkSync(target, temporary);
    try {
      fs.renameSync(temporary, path);
    } catch (error) {
      fs.rmSync(temporary, { force: true });
      throw error;
    }
    syncDirectory(dirname(path));
  },
  async setAttributes(path, attributes) {
    applyAttributes(path, attributes);
  },
  async rename(from, to) {
    fs.renameSync(from, to);
    syncDirectory(dirname(to));
  },
  async remove(path) {
    fs.rmSync(path, { recursive: true, force: true });
  },
};

/** Errors of system calls that are the machine's state, and no mistake of ours (errno(3)). */
const REFUSALS: Readonly<Record<string, readonly [why: string, hint: string]>> = {
  EACCES: ["permission denied", "run the command as root"],
  EBUSY: ["it is in use", "findmnt -R PATH   # a mount?"],
  EISDIR: ["it is a folder", "ls -ld PATH   # name a file, or move the folder away"],
  ELOOP: ["its links lead in a circle", "namei -l PATH"],
  ENAMETOOLONG: ["the path is too long", "give the path of a file"],
  EDQUOT: ["the disk quota is used up", "df -h PATH   # free some space, or raise the quota"],
  EIO: ["the disk or its file system failed", "dmesg   # says what the kernel met"],
  ENOSPC: ["no space is left on the disk", "df -h PATH; df -i PATH   # free some space"],
  EPERM: ["the system does not allow it", "lsattr -d PATH   # an immutable file?"],
  EROFS: ["the file system is read-only", "findmnt -T PATH; dmesg   # the kernel turns it read-only after an error"],
};

const LOOKS = new Set(["readText", "stat", "list", "readLink", "space", "digest"]);
/** Those whose second argument is the path that they change. */
const ONTO = new Set(["makeLink", "replaceLink", "rename"]);

/**
 * The files of this machine. What the machine refuses (a full disk, a
 * read-only file system) is told to people as such, whoever met it.
 */
export const localFiles: FileOperations = explaining();

function explaining(): FileOperations {
  const explained = Object.entries(operations).map(([name, operation]) => {
    const call = operation as (...args: unknown[]) => Promise<unknown>;
    const verb = LOOKS.has(name) ? "read" : "change";
    const refused = async (error: unknown, args: unknown[]) => {
      throw explain(error, verb, String(args[ONTO.has(name) ? 1 : 0]));
    };
    return [name, (...args: unknown[]) => call(...args).catch((error: unknown) => refused(error, args))];
  });
  return Object.fromEntries(explained) as FileOperations;
}

function explain(error: unknown, verb: string, path: string): unknown {
  const [why, hint] = REFUSALS[(error as NodeJS.ErrnoException).code ?? ""] ?? [];
  if (why === undefined || hint === undefined) return error;
  return new UserError(`Unable to ${verb} ${path}: ${why}`, { hint: hint.replaceAll("PATH", path), cause: error });
}

function unlessMissing<T>(look: () => T, ...alsoMissing: string[]): T | undefined {
  try {
    return look();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "";
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
    device: found.dev,
    modifiedMs: found.mtimeMs,
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

function writeWhole(path: string, text: string, attributes: FileAttributes): void {
  const temporary = temporaryBeside(path);
  try {
    createFile(temporary, text, attributes);
    fs.renameSync(temporary, path);
  } catch (error) {
    fs.rmSync(temporary, { force: true });
    throw error;
  }
  syncDirectory(dirname(path));
}

function createFile(path: string, text: string, attributes: FileAttributes): void {
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
  for (const name of fs.readdirSync(dirname(path))) {
    const pid = name.startsWith(start) ? name.slice(start.length).split("-")[0] : undefined;
    if (pid !== undefined && !fs.existsSync(`/proc/${pid}`)) fs.rmSync(join(dirname(path), name));
  }
  return join(dirname(path), `${start}${process.pid}-${Math.random().toString(36).slice(2)}`);
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
