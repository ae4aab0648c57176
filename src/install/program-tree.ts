import { join } from "node:path";
import { isText, readWritten, type Shape, tableOf } from "../config/written-json.ts";
import type { Host, HostView } from "../host/host.ts";
import { TREE } from "../tree.ts";

/** Where the program lives: a folder for each version that is there, and a link to the one in force. */
export const PROGRAM = "/usr/lib/opdbus-pve";

/** The tree in force. What names the program (commands, units) names this link, so that one rename is the upgrade. */
export const CURRENT = join(PROGRAM, "current");

/** What a built tree says of itself: every file, so that a half-copied or altered one shows. */
interface TreeManifest {
  readonly version: string;
  /** Path below the tree to hex SHA-256. */
  readonly files: Readonly<Record<string, string>>;
}

const SHAPE: Shape<TreeManifest> = { version: isText, files: tableOf(isText) };

/** What a look at the program found. */
export type TreeFinding =
  | { readonly state: "ok" }
  /** What is to be installed. */
  | { readonly state: "change"; readonly version: string }
  | { readonly state: "blocked"; readonly reason: string; readonly hint: string };

/** Compares the tree that this process runs from with the one in force, file by file. */
export async function findTree(host: HostView): Promise<TreeFinding> {
  const manifest = await readManifest(host, TREE);
  if (manifest === undefined && (await host.stat(join(TREE, "src"))) !== undefined) {
    return {
      state: "blocked",
      reason: `${TREE} is a checkout, not a built tree`,
      hint: "npm run build && build/opdbus-pve/opdbus-pve install",
    };
  }
  const inForce = await host.stat(CURRENT);
  if (inForce !== undefined && inForce.type !== "link") {
    return { state: "blocked", reason: `${CURRENT} is no link`, hint: `mv ${CURRENT} ${CURRENT}.before` };
  }
  if (manifest === undefined) return notWhatWasBuilt(MANIFEST);
  const altered = await firstAltered(host, TREE, manifest);
  if (altered !== undefined) return notWhatWasBuilt(altered);
  return (await isInForce(host, manifest)) ? { state: "ok" } : { state: "change", version: manifest.version };
}

function notWhatWasBuilt(path: string): TreeFinding {
  return {
    state: "blocked",
    reason: `${join(TREE, path)} is not what was built`,
    hint: "run the installation from a fresh copy of the built tree: opdbus-pve/opdbus-pve install",
  };
}

/**
 * Makes a copy of the tree that this process runs from the one in force. It
 * is whole and on the disk before the link is moved, so that a cut at any
 * moment leaves the old program or the new one. Trees that nothing runs from
 * are removed then.
 */
export async function installTree(host: Host): Promise<void> {
  const manifest = await readManifest(host, TREE);
  if (manifest !== undefined && !(await isInForce(host, manifest))) {
    const name = (await findCopy(host, manifest)) ?? (await copyTree(host, manifest.version));
    await host.replaceLink(name, CURRENT);
  }
  await removeOldTrees(host);
}

async function isInForce(host: HostView, manifest: TreeManifest): Promise<boolean> {
  const current = await currentTree(host);
  return current === TREE || (current !== undefined && (await isCopy(host, current, manifest)));
}

/** The name of an installed tree that is this one: itself, or what a cut-off run had copied already. */
async function findCopy(host: HostView, manifest: TreeManifest): Promise<string | undefined> {
  for (const name of (await host.list(PROGRAM)) ?? []) {
    if (FINISHED.test(name) && (await isCopy(host, join(PROGRAM, name), manifest))) return name;
  }
  return undefined;
}

async function isCopy(host: HostView, tree: string, manifest: TreeManifest): Promise<boolean> {
  const same = (await host.digest(join(tree, MANIFEST))) === (await host.digest(join(TREE, MANIFEST)));
  return same && (await firstAltered(host, tree, manifest)) === undefined;
}

const MANIFEST = "tree.json";
const FINISHED = /^\w[\w.+-]*-\d+$/;

async function readManifest(host: HostView, tree: string): Promise<TreeManifest | undefined> {
  return readWritten(await host.readText(join(tree, MANIFEST)), SHAPE);
}

async function firstAltered(host: HostView, tree: string, { files }: TreeManifest): Promise<string | undefined> {
  for (const [path, digest] of Object.entries(files)) {
    if ((await host.digest(join(tree, path))) !== digest) return path;
  }
  return undefined;
}

async function currentTree(host: HostView): Promise<string | undefined> {
  const target = await host.readLink(CURRENT);
  return target === undefined ? undefined : join(PROGRAM, target);
}

// a name of its own also for a second copy of one version: nothing is written into a tree that may be in force
async function copyTree(host: Host, version: string): Promise<string> {
  const taken = (await host.list(PROGRAM)) ?? [];
  let number = 1;
  while (taken.includes(`${version}-${number}`)) number += 1;
  const name = `${version}-${number}`;
  const unfinished = join(PROGRAM, `.${name}.new`);
  await host.makeDirectory(PROGRAM, { mode: 0o755 });
  await host.remove(unfinished);
  await host.run(["cp", "--archive", "--no-preserve=ownership", "--", TREE, unfinished]);
  await host.run(["sync", "--file-system", "--", unfinished]);
  await host.rename(unfinished, join(PROGRAM, name));
  return name;
}

const UNFINISHED = /^\..+\.new$/;

/** Removes the trees that are not in force, but for those that a process still loads its modules from. */
async function removeOldTrees(host: Host): Promise<void> {
  const current = await currentTree(host);
  const running = await runningPrograms(host);
  for (const name of (await host.list(PROGRAM)) ?? []) {
    const tree = join(PROGRAM, name);
    const used = tree === current || running.some((program) => program.startsWith(`${tree}/`));
    if ((FINISHED.test(name) || UNFINISHED.test(name)) && !used) await host.remove(tree);
  }
}

async function runningPrograms(host: HostView): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await host.list("/proc")) ?? []) {
    const program = /^\d+$/.test(pid) ? await host.readLink(`/proc/${pid}/exe`) : undefined;
    if (program !== undefined) found.push(program);
  }
  return found;
}
