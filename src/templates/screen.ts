import { EXIT, UserError } from "../host/errors.ts";
import { BLOCK, type Header, readHeader, readPax } from "./tar-header.ts";

/** What a screened archive holds. */
export interface Screened {
  readonly members: number;
  /** Size of all files together. */
  readonly bytes: number;
  /** What files that were asked for hold, by their path. */
  readonly contents: ReadonlyMap<string, string>;
}

/** How an archive is screened. */
export interface Screening {
  /** What messages call it. */
  readonly source: string;
  /** Bytes that it may unpack to. */
  readonly limit: number;
  /** Small files whose content is wanted, such as `etc/hostname`. */
  readonly wanted?: readonly string[];
}

/** Takes an archive, decompressed, piece by piece. */
export interface Screener {
  /** @throws {UserError} naming the member that must not be unpacked, and why */
  readonly take: (bytes: Uint8Array) => void;
  /** @throws {UserError} when the archive is cut short */
  readonly end: () => Screened;
}

// more than any root file system has; each costs us memory
const MOST_MEMBERS = 1_000_000;
const MOST_NAME_BYTES = 256 * 2 ** 20;
const LONGEST_PATH = 4095;
const LONGEST_NAME = 255;
const LARGEST_EXTENSION = 2 ** 20;
const LARGEST_WANTED = 64 * 1024;

const PAX_KEYS = new Set(
  "path linkpath size mtime atime ctime uid gid uname gname comment LIBARCHIVE.creationtime SCHILY.dev SCHILY.ino SCHILY.nlink SCHILY.acl.access SCHILY.acl.default SCHILY.xattr.security.capability".split(
    " ",
  ),
);

type Kind = "file" | "folder" | "other" | "device";
const KINDS: Readonly<Record<string, Kind | "link">> = {
  0: "file",
  1: "link",
  2: "other",
  3: "device",
  4: "device",
  5: "folder",
  // a pipe with a name: where the host reads a tree that others shaped, it does not wait for ever (packages.ts)
  6: "other",
};

/** What stands before a member, and says more of it than its header can. */
interface Extension {
  name?: string;
  linkName?: string;
  size?: number;
  readonly seen: Set<string>;
}

/**
 * Looks through an archive before a byte of it is unpacked, and is strict:
 * what two programs could read in two ways is refused, so that what was
 * screened is what tar unpacks. Nothing in it may lie outside, be reached
 * through a link, come twice, or be a device (but for those in /dev, which
 * nobody unpacks).
 */
export function screenArchive(screening: Screening): Screener {
  const members = memberScreen(screening);
  let block: Buffer = Buffer.alloc(0);
  let skip = 0;
  let collect: { readonly left: number; readonly done: (data: Buffer) => void } | undefined;
  let zeros = 0;
  let streamed = 0;

  const header = (bytes: Buffer): void => {
    if (bytes.every((byte) => byte === 0)) {
      zeros += 1;
      return;
    }
    if (zeros > 0) throw new Error("it goes on behind its end");
    const found = readHeader(bytes);
    const padded = Math.ceil(found.size / BLOCK) * BLOCK;
    const reader = members.extension(found);
    if (reader !== undefined) {
      collect = { left: padded, done: (data) => reader(data.subarray(0, found.size)) };
      if (padded === 0) finish(Buffer.alloc(0));
      return;
    }
    const { size, keep } = members.member(found);
    skip = Math.ceil(size / BLOCK) * BLOCK;
    if (keep === undefined || skip === 0) return;
    collect = { left: skip, done: (data) => keep(data.subarray(0, size)) };
    skip = 0;
  };
  const finish = (data: Buffer) => {
    const { done } = collect ?? {};
    collect = undefined;
    done?.(data);
  };
  const take = (bytes: Buffer) => {
    streamed += bytes.length;
    // the headers themselves, and files of no size, take space too
    if (streamed > screening.limit + MOST_NAME_BYTES) throw new Error("it is larger than the space that is free");
    for (let at = 0; at < bytes.length;) {
      if (skip > 0) {
        const step = Math.min(skip, bytes.length - at);
        skip -= step;
        at += step;
        continue;
      }
      const wanted = (collect?.left ?? BLOCK) - block.length;
      const piece = bytes.subarray(at, at + wanted);
      at += piece.length;
      block = block.length === 0 ? piece : Buffer.concat([block, piece]);
      if (piece.length < wanted) break;
      const whole = block;
      block = Buffer.alloc(0);
      if (collect === undefined) header(whole);
      else finish(whole);
    }
    // what is kept must not hold on to what comes and goes
    if (block.length > 0) block = Buffer.from(block);
  };
  const end = () => {
    if (zeros < 2 || skip > 0 || collect !== undefined || block.length > 0) throw new Error("it is cut short");
    return members.end();
  };
  return {
    take: (bytes) => explained(screening, () => take(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length))),
    end: () => explained(screening, end),
  };
}

function explained<Result>({ source }: Screening, work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof Error) || error.constructor !== Error) throw error;
    throw new UserError(`Unable to unpack ${source}: ${error.message}`, {
      hint: "nothing of it was unpacked; make it anew, from a root file system as it is: tar --numeric-owner -C ROOT -cf FILE .",
      exitCode: EXIT.unverified,
      cause: error,
    });
  }
}

/** The names in an archive, and what they say together. */
function memberScreen({ limit, wanted = [] }: Screening) {
  const kinds = new Map<string, Kind | "implied">([["", "implied"]]);
  const contents = new Map<string, string>();
  let extension: Extension = { seen: new Set() };
  let members = 0;
  let bytes = 0;
  let nameBytes = 0;

  const put = (path: string, kind: Kind | "implied") => {
    if (kinds.size >= MOST_MEMBERS || (nameBytes += path.length) > MOST_NAME_BYTES) {
      throw new Error(`it has more than ${MOST_MEMBERS} files`);
    }
    kinds.set(path, kind);
  };
  const requireFolders = (path: string) => {
    for (let cut = path.indexOf("/"); cut !== -1; cut = path.indexOf("/", cut + 1)) {
      const above = path.slice(0, cut);
      const kind = kinds.get(above);
      if (kind === undefined) put(above, "implied");
      else if (kind !== "folder" && kind !== "implied") {
        throw new Error(`${shown(path)} lies below ${shown(above)}, which is no folder`);
      }
    }
  };
  const member = ({ type, ...header }: Header) => {
    const { name = header.name, linkName = header.linkName, size = header.size, seen } = extension;
    extension = { seen: new Set() };
    members += 1;
    if ((seen.has("path") && seen.has("L")) || (seen.has("linkpath") && seen.has("K"))) {
      throw new Error(`${shown(header.name)} has two names`);
    }
    const path = cleanPath(name, "member");
    const kind = type === "0" && name.endsWith("/") ? "folder" : KINDS[type];
    if (kind === undefined) throw new Error(`${shown(path)} is of the odd type ${JSON.stringify(type)}`);
    if (kind !== "file" && size !== 0) throw new Error(`${shown(path)} has a size, and is no file`);
    if (kind === "device" && !path.startsWith("dev/")) throw new Error(`${shown(path)} is a device`);
    const before = kinds.get(path);
    if (before !== undefined && !(before === "implied" && kind === "folder")) {
      throw new Error(`${shown(path)} comes twice`);
    }
    requireFolders(path);
    const target = kind === "link" ? requireTarget(path, cleanPath(linkName, "target")) : undefined;
    if (type === "2" && (linkName === "" || linkName.length > LONGEST_PATH)) {
      throw new Error(`${shown(path)} is a link to nothing`);
    }
    put(path, target ?? (kind as Kind));
    bytes += size;
    if (bytes > limit) throw new Error(`it is larger than the ${limit} bytes that are free`);
    const keep = (data: Buffer) => void contents.set(path, data.toString("utf8"));
    return { size, keep: kind === "file" && size <= LARGEST_WANTED && wanted.includes(path) ? keep : undefined };
  };
  /** A symbolic link has several names as well, after `cp -al`: what comes below any of them is refused. */
  const requireTarget = (path: string, target: string): Kind => {
    const kind = kinds.get(target);
    if (kind !== "file" && kind !== "other")
      throw new Error(`${shown(path)} is a hard link to ${shown(target)}, no file before it`);
    if (target.startsWith("dev/")) throw new Error(`${shown(path)} is a hard link into /dev`);
    return kind;
  };
  /** What reads the data of a header that belongs to the next member. */
  const reader = ({ type, size }: Header): ((data: Buffer) => void) | undefined => {
    if (!["x", "g", "L", "K"].includes(type)) return undefined;
    if (size > LARGEST_EXTENSION) throw new Error("it has a header of an impossible size");
    if (type !== "g" && extension.seen.has(type)) throw new Error(`it has two headers of type ${type} for one member`);
    if (type !== "g") extension.seen.add(type);
    if (type === "x") return (data) => takePax(readPax(data), extension);
    if (type === "L") return (data) => void (extension.name = longName(data));
    if (type === "K") return (data) => void (extension.linkName = longName(data));
    return (data) => {
      const odd = [...readPax(data).keys()].find((key) => key !== "comment");
      if (odd !== undefined) throw new Error(`it says ${odd} of all its members at once`);
    };
  };
  const end = (): Screened => {
    if (extension.seen.size > 0) throw new Error("it is cut short");
    if (members === 0) throw new Error("it is empty");
    return { members, bytes, contents };
  };
  return { member, extension: reader, end };
}

function takePax(records: ReadonlyMap<string, string>, extension: Extension): void {
  for (const [key, value] of records) {
    if (key.startsWith("GNU.sparse."))
      throw new Error("it has a sparse file; make it with tar --create, without --sparse");
    if (!PAX_KEYS.has(key) && !key.startsWith("SCHILY.xattr.user.")) {
      throw new Error(`a member carries ${shown(key)}, which no template may have`);
    }
    if (key === "path" || key === "linkpath") {
      if (extension.seen.has(key === "path" ? "L" : "K")) throw new Error("a member has two names");
      if (value === "" || value.includes("\0")) throw new Error(`a member has an impossible ${key}`);
      extension[key === "path" ? "name" : "linkName"] = value;
      extension.seen.add(key);
    }
    if (key !== "size") continue;
    if (!/^(0|[1-9]\d{0,14})$/.test(value)) throw new Error("a member has an impossible size");
    extension.size = Number(value);
  }
}

function longName(data: Buffer): string {
  return data.toString("latin1").split("\0")[0] ?? "";
}

/** A path without `.` and doubled slashes; that of the tree's root is empty. */
function cleanPath(name: string, what: string): string {
  if (name === "") throw new Error(`it has a ${what} without a name`);
  if (name.startsWith("/")) throw new Error(`the ${what} ${shown(name)} is absolute`);
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw new Error(`the ${what} ${shown(name)} leads out of the tree`);
  const path = parts.join("/");
  if (path.length > LONGEST_PATH || parts.some((part) => part.length > LONGEST_NAME)) {
    throw new Error(`the ${what} ${shown(path.slice(0, 60))}… has a name that is too long`);
  }
  return path;
}

/** Bytes of a name as people read them. */
function shown(name: string): string {
  return JSON.stringify(Buffer.from(name, "latin1").toString("utf8"));
}
