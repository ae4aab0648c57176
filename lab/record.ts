import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { removeCgroup } from "./cgroups.ts";
import { detachLoopDevices, removeDisk, unmountDisk } from "./disk.ts";
import { labCache } from "./paths.ts";
import { bootId, findProcess, isAlive, killProcess, parseStat, type StartedProcess } from "./processes.ts";

/** All that a node leaves on this machine, written down before it is made. */
export interface NodeRecord {
  readonly name: string;
  readonly bootId: string;
  /** The harness that started it. */
  readonly owner: StartedProcess;
  /** True when the node outlives its owner. */
  readonly keep: boolean;
  readonly cgroups: readonly string[];
  /** What we started for it, besides PID 1, which is in the file `pid1`. */
  readonly helpers: readonly StartedProcess[];
}

const nodes = join(labCache, "nodes");

/** Where all of a node lives. */
export function nodeDirectory(name: string): string {
  return join(nodes, name);
}

/** Makes a node's directory with its record in it, as one act. */
export async function createRecord(record: NodeRecord): Promise<void> {
  const unfinished = join(nodes, `.new.${process.pid}.${record.name}`);
  await mkdir(unfinished, { recursive: true });
  await writeFile(join(unfinished, "node.json"), JSON.stringify(record, undefined, 2));
  await rename(unfinished, nodeDirectory(record.name));
}

/** Replaces a node's record. */
export async function updateRecord(record: NodeRecord): Promise<void> {
  const file = join(nodeDirectory(record.name), "node.json");
  await writeFile(`${file}.new`, JSON.stringify(record, undefined, 2));
  await rename(`${file}.new`, file);
}

/** The node of this name, running or left over; undefined when there is none. */
export async function findRecord(name: string): Promise<NodeRecord | undefined> {
  const text = await readFile(join(nodeDirectory(name), "node.json"), "utf8").catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as NodeRecord);
}

/** True while the harness that started this node runs. */
export function isOwned(record: NodeRecord): boolean {
  return record.bootId === bootId() && isAlive(record.owner);
}

/** The node's PID 1 as this machine knows it; undefined when the node is down. */
export async function findInit(name: string): Promise<StartedProcess | undefined> {
  const stat = await readFile(join(nodeDirectory(name), "pid1"), "utf8").catch(() => undefined);
  if (stat === undefined) return undefined;
  const { pid, startTime } = parseStat(stat);
  return isAlive({ pid, startTime }) ? { pid, startTime } : undefined;
}

/** After PID 1's end: what a machine forgets when it goes down. The disk stays. */
export async function clearAfterHalt(record: NodeRecord): Promise<void> {
  for (const helper of record.helpers) await killProcess(helper);
  for (const cgroup of record.cgroups) await removeCgroup(cgroup);
  await detachLoopDevices(nodeDirectory(record.name));
  await rm(join(nodeDirectory(record.name), "pid1"), { force: true });
}

/** Ends a node, in whatever state it is, and removes everything it left on this machine. */
export async function removeNode(record: NodeRecord): Promise<void> {
  const directory = nodeDirectory(record.name);
  // After a boot of this machine the pids are others', and mounts and groups are gone.
  if (record.bootId === bootId()) {
    const init = await findInit(record.name);
    if (init !== undefined) await killProcess(init);
    await clearAfterHalt(record);
    await unmountDisk(directory);
  }
  await removeDisk(directory);
}

/** Removes what harnesses left that were killed. Nodes that are to be kept stay. */
export async function removeLeftovers(): Promise<void> {
  for (const name of await readdir(nodes).catch(() => [])) {
    if (name.startsWith(".new.")) {
      const owner = Number(name.split(".")[2]);
      if (findProcess(owner) === undefined) await rm(join(nodes, name), { recursive: true, force: true });
      continue;
    }
    const record = await findRecord(name);
    // Only an interrupted removal leaves a directory without a record.
    if (record === undefined) await removeDisk(nodeDirectory(name));
    else if (!record.keep && !isOwned(record)) await removeNode(record);
  }
}
