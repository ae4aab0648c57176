import { createHash } from "node:crypto";
import { posix } from "node:path";
import type { FileAttributes, FileStat, Host } from "../src/host/host.ts";
import { parseMountInfo, refuseMountsAt } from "../src/host/mounts.ts";

/** What lies at a path: text makes a file, a target makes a link, neither a directory. */
export interface Entry extends FileAttributes {
  readonly text?: string;
  readonly target?: string;
  /** 256 makes a directory a subvolume; a number of its own unless given. */
  readonly inode?: number;
  /** BTRFS properties; `ro` = `true` seals everything below. */
  readonly properties?: Readonly<Record<string, string>>;
}

type Found = Entry & Required<Omit<Entry, "text" | "target">>;

/** The files of a machine in memory, for those who stand for its commands: nothing here counts as a change. */
export interface Tree {
  get(path: string): Found | undefined;
  /** Puts an entry in place of what is there; makes the directories above it. */
  put(path: string, entry: Entry): void;
  /** All paths at and below this one, sorted. */
  below(path: string): string[];
  move(from: string, to: string): void;
  drop(path: string): void;
}

type Looks = Pick<Host, "readText" | "stat" | "list" | "readLink" | "digest">;

/** The looks of `Host` at a tree. */
export function looks(tree: Tree): Looks {
  return {
    async readText(path) {
      const found = tree.get(follow(tree, path));
      if (kindOf(found) === "directory") throw failure("EISDIR", path);
      return found?.text;
    },
    async stat(path) {
      const at = posix.join(follow(tree, posix.dirname(path)), posix.basename(path));
      const found = tree.get(at);
      if (found === undefined) return undefined;
      const { mode, uid, gid, inode, text = "" } = found;
      const size = Buffer.byteLength(text);
      return { type: kindOf(found), mode, uid, gid, size, allocated: size, inode };
    },
    async list(path) {
      const at = follow(tree, path);
      if (kindOf(tree.get(at)) !== "directory") return undefined;
      const inside = tree.below(at).filter((each) => each !== at && posix.dirname(each) === at);
      return inside.map((each) => posix.basename(each));
    },
    readLink: async (path) => tree.get(path)?.target,
    async digest(path) {
      const text = tree.get(follow(tree, path))?.text;
      return text === undefined ? undefined : createHash("sha256").update(text).digest("hex");
    },
  };
}

type FileChanges = Pick<
  Host,
  | "writeText"
  | "createText"
  | "appendText"
  | "makeDirectory"
  | "makeLink"
  | "replaceLink"
  | "setAttributes"
  | "rename"
  | "remove"
>;

/** The changes of files of `Host`, made to a tree; each is noted before it is tried. */
export function fileChanges(tree: Tree, changes: string[]): FileChanges {
  const begin = (path: string, what: string) => {
    changes.push(what);
    for (let at = path; at !== "/"; at = posix.dirname(at)) if (isSealed(tree, at)) throw failure("EROFS", path);
  };
  const put = (path: string, entry: Entry, replaces: readonly (string | undefined)[]) => {
    if (kindOf(tree.get(posix.dirname(path))) !== "directory") throw failure("ENOENT", path);
    const before = kindOf(tree.get(path));
    if (!replaces.includes(before)) throw failure(before === "directory" ? "EISDIR" : "EEXIST", path);
    tree.put(path, entry);
  };
  return {
    async writeText(path, text, attributes = {}) {
      begin(path, `write ${path}`);
      put(path, { mode: 0o644, ...attributes, text }, [undefined, "file", "link"]);
    },
    async createText(path, text, attributes = {}) {
      begin(path, `write ${path}`);
      put(path, { mode: 0o644, ...attributes, text }, [undefined]);
    },
    async appendText(path, text) {
      begin(path, `append to ${path}`);
      const before = tree.get(path);
      put(path, { mode: 0o600, ...before, text: `${before?.text ?? ""}${text}` }, [undefined, "file"]);
    },
    async makeDirectory(path, attributes = {}) {
      begin(path, `make directory ${path}`);
      const before = tree.get(path);
      if (before !== undefined && kindOf(before) !== "directory") throw failure("EEXIST", path);
      tree.put(path, { ...before, ...attributes });
    },
    async makeLink(target, path) {
      begin(path, `link ${path} to ${target}`);
      if (tree.get(path) !== undefined) throw failure("EEXIST", path);
      put(path, { target }, [undefined]);
    },
    async replaceLink(target, path) {
      begin(path, `link ${path} to ${target}`);
      put(path, { target }, [undefined, "file", "link"]);
    },
    async setAttributes(path, attributes) {
      begin(path, `set attributes of ${path}`);
      const before = tree.get(path);
      if (before === undefined) throw failure("ENOENT", path);
      tree.put(path, { ...before, ...attributes });
    },
    async rename(from, to) {
      begin(from, `rename ${from} to ${to}`);
      const before = kindOf(tree.get(to));
      if (tree.get(from) === undefined || tree.get(posix.dirname(to)) === undefined) throw failure("ENOENT", from);
      if (before === "directory" && tree.below(to).length > 1) throw failure("ENOTEMPTY", to);
      if (before === "file" && kindOf(tree.get(from)) === "directory") throw failure("ENOTDIR", to);
      tree.move(from, to);
    },
    async remove(path) {
      begin(path, `remove ${path}`);
      const sealed = tree.below(path).find((each) => isSealed(tree, each));
      if (sealed !== undefined) throw failure("EROFS", sealed);
      refuseMountsAt(parseMountInfo(tree.get("/proc/self/mountinfo")?.text ?? ""), path);
      tree.drop(path);
    },
  };
}

function isSealed(tree: Tree, path: string): boolean {
  return tree.get(path)?.properties["ro"] === "true";
}

/** An empty machine. */
export function makeTree(): Tree {
  const entries = new Map<string, Found>();
  let inodes = 1000;
  const tree: Tree = {
    get: (path) => entries.get(path),
    put(path, entry) {
      if (path !== "/" && !entries.has(posix.dirname(path))) tree.put(posix.dirname(path), {});
      const mode = entry.text === undefined ? 0o755 : 0o644;
      const fresh = { mode, uid: 0, gid: 0, inode: inodes++, properties: {} };
      entries.set(path, { ...fresh, ...entry });
    },
    below: (path) =>
      [...entries.keys()]
        .filter((each) => each === path || each.startsWith(path === "/" ? "/" : `${path}/`))
        .toSorted(),
    move(from, to) {
      tree.drop(to);
      for (const path of tree.below(from)) {
        entries.set(`${to}${path.slice(from.length)}`, entries.get(path) as Found);
        entries.delete(path);
      }
    },
    drop(path) {
      for (const each of tree.below(path)) entries.delete(each);
    },
  };
  tree.put("/", {});
  return tree;
}

function kindOf(entry: Entry): FileStat["type"];
function kindOf(entry: Entry | undefined): FileStat["type"] | undefined;
function kindOf(entry: Entry | undefined): FileStat["type"] | undefined {
  if (entry === undefined) return undefined;
  return entry.text !== undefined ? "file" : entry.target !== undefined ? "link" : "directory";
}

/** The path with every link in it followed, like realpath(3); what is missing stays as it is. */
function follow(tree: Tree, path: string): string {
  let at = "";
  for (const part of path.split("/").filter((each) => each !== "")) {
    const next = `${at}/${part}`;
    const target = tree.get(next)?.target;
    at = target === undefined ? next : follow(tree, posix.resolve(at === "" ? "/" : at, target));
  }
  return at === "" ? "/" : at;
}

function failure(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}
