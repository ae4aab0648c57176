import { join } from "node:path";
import { exactly, isText, orNothing, readWritten, type Shape } from "../config/written-json.ts";
import { UserError } from "../host/errors.ts";
import type { Host, HostView } from "../host/host.ts";
import { CONTAINERS } from "../paths.ts";
import { making, sweepAbandoned, takeAway } from "../pool/claims.ts";
import { requirePool } from "../pool/find-pool.ts";
import { isSubvolume, snapshotReadOnly } from "../pool/subvolumes.ts";
import { checkConfig, readConfig } from "./describe.ts";
import {
  containerFolder,
  type ContainerRecord,
  lockContainer,
  readRecord,
  recordFile,
  recordIn,
  recordText,
  requireContainer,
} from "./record.ts";
import { runningContainers } from "./running.ts";

/** What is known of a snapshot. */
export interface Snapshot {
  /** ISO 8601, UTC. */
  readonly createdAt: string;
  readonly note?: string;
  /** Whether the container ran: then it is what a power cut would have left. */
  readonly running: boolean;
}

/** snapshot.json beside its sealed root file system. */
const SHAPE: Shape<Snapshot & { schema: 1 }> = {
  schema: exactly(1),
  createdAt: isText,
  note: orNothing(isText),
  running: exactly(true, false),
};

/** One line of a list of snapshots: what is known of it, or why it cannot be read. */
export type SnapshotSummary = { readonly name: string } & (
  | Snapshot
  | { readonly broken: string; readonly mend: string }
);

/** A container as a snapshot holds it. */
export interface SnapshotState {
  /** Its name is that of the container at the time. */
  readonly record: ContainerRecord;
  /** LXC's configuration. */
  readonly config: string;
  /** The sealed subvolume. */
  readonly rootfs: string;
}

/**
 * Where the snapshots of a container lie: in its folder, so that they are renamed and removed with
 * it. Each is a folder as the container's own was: `rootfs`, `config` and `container.json`, and its `snapshot.json`.
 */
export function snapshotsFolder(container: string): string {
  return join(container, "snapshots");
}

function snapshotFolder(name: string, snapshot: string): string {
  return join(snapshotsFolder(containerFolder(name)), snapshot);
}

/** Names of the snapshots of a container. */
export async function snapshotNames(host: HostView, name: string): Promise<string[]> {
  return (await host.list(snapshotsFolder(containerFolder(name)))) ?? [];
}

/** All snapshots of a container, oldest first; one that is broken does not hide the others. */
export async function listSnapshots(host: HostView, name: string): Promise<SnapshotSummary[]> {
  const found: SnapshotSummary[] = [];
  for (const snapshot of await snapshotNames(host, name)) {
    try {
      await readSnapshot(host, name, snapshot);
      found.push({ name: snapshot, ...(await readAbout(host, name, snapshot)) });
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      const mend = `op-dbus container delsnapshot ${name} ${snapshot}`;
      found.push({ name: snapshot, broken: error.message, mend });
    }
  }
  const time = (one: SnapshotSummary) => ("createdAt" in one ? one.createdAt : "");
  return found.toSorted((one, other) => time(one).localeCompare(time(other)));
}

async function readAbout(host: HostView, name: string, snapshot: string): Promise<Snapshot> {
  const file = join(snapshotFolder(name, snapshot), "snapshot.json");
  const about = readWritten(await host.readText(file), SHAPE);
  if (about === undefined) throw notWhole(name, snapshot, file);
  const { schema: _, ...facts } = about;
  return facts;
}

function notWhole(name: string, snapshot: string, file: string): UserError {
  return new UserError(`The snapshot ${snapshot} of ${name} is broken: ${file}`, {
    hint: `op-dbus container delsnapshot ${name} ${snapshot}   # removes what is left of it`,
  });
}

/** @throws {UserError} when there is no such snapshot; what there is need not be whole */
export async function requireSnapshot(host: HostView, name: string, snapshot: string): Promise<void> {
  await requireContainer(host, name);
  if ((await host.stat(snapshotFolder(name, snapshot))) !== undefined) return;
  throw new UserError(`${name} has no snapshot ${snapshot}`, { hint: `op-dbus container listsnapshot ${name}` });
}

/** @throws {UserError} when there is no such snapshot, or it is not whole */
export async function readSnapshot(host: HostView, name: string, snapshot: string): Promise<SnapshotState> {
  await requireSnapshot(host, name, snapshot);
  const folder = snapshotFolder(name, snapshot);
  const rootfs = join(folder, "rootfs");
  const record = await recordIn(host, folder);
  const config = await host.readText(join(folder, "config"));
  if (record !== undefined && config !== undefined && isSubvolume(await host.stat(rootfs)))
    return { record, config: checkConfig(config, join(folder, "config"), record.name), rootfs };
  const missing = record === undefined ? "container.json" : config === undefined ? "config" : "rootfs";
  throw notWhole(name, snapshot, join(folder, missing));
}

/**
 * Takes a sealed snapshot of a container, with its record and configuration;
 * of a running one it is what a power cut would leave.
 * @param wanted its name; the time in UTC unless given
 * @returns its name, and what is known of it
 * @throws {UserError} when the name is taken
 */
export async function takeSnapshot(
  host: Host,
  name: string,
  { wanted, note }: { readonly wanted?: string; readonly note?: string } = {},
): Promise<Snapshot & { readonly name: string }> {
  await requirePool(host);
  await requireContainer(host, name);
  const release = await lockContainer(host, name, "snapshot");
  try {
    const record = await readRecord(host, name);
    // one that could not be read later would be no snapshot
    const config = await readConfig(host, name);
    await sweepAbandoned(host, CONTAINERS);
    const createdAt = new Date().toISOString();
    const chosen = wanted ?? freeName(createdAt, await snapshotNames(host, name));
    if ((await snapshotNames(host, name)).includes(chosen)) {
      throw new UserError(`${name} has a snapshot ${chosen} already`, {
        hint: `op-dbus container delsnapshot ${name} ${chosen}   # or choose another name`,
      });
    }
    const running = (await runningContainers(host)).has(name);
    const about = { createdAt, ...(note === undefined ? {} : { note }), running };
    await makeSnapshot(host, { record, config }, chosen, about);
    return { name: chosen, ...about };
  } finally {
    await release();
  }
}

// of the same second they are counted
function freeName(createdAt: string, taken: readonly string[]): string {
  const stamp = createdAt.replaceAll(/[-:]|\.\d+/g, "");
  for (let count = 2, name = stamp; ; name = `${stamp}-${count++}`) if (!taken.includes(name)) return name;
}

async function makeSnapshot(
  host: Host,
  { record, config }: Omit<SnapshotState, "rootfs">,
  chosen: string,
  about: Snapshot,
): Promise<void> {
  const { name } = record;
  const folder = containerFolder(name);
  const ours = { mode: 0o600 };
  await making(host, CONTAINERS, name, async (work) => {
    await host.createText(recordFile(work), recordText(record), ours);
    await host.createText(join(work, "config"), config, ours);
    await host.createText(join(work, "snapshot.json"), `${JSON.stringify({ schema: 1, ...about }, null, 2)}\n`, ours);
    await snapshotReadOnly(host, join(folder, "rootfs"), join(work, "rootfs"));
    await makeSnapshotsFolder(host, folder, join(work, "snapshots"));
    await host.rename(work, snapshotFolder(name, chosen));
  });
}

// by a rename, which does not bring back the folder of a container that was destroyed meanwhile
async function makeSnapshotsFolder(host: Host, container: string, work: string): Promise<void> {
  if ((await host.stat(snapshotsFolder(container))) !== undefined) return;
  await host.makeDirectory(work, { mode: 0o700 });
  await host.rename(work, snapshotsFolder(container));
}

/**
 * Removes a snapshot for good; also one that is not whole.
 * @throws {UserError} when there is no such snapshot
 */
export async function deleteSnapshot(host: Host, name: string, snapshot: string): Promise<void> {
  await requireSnapshot(host, name, snapshot);
  const release = await lockContainer(host, name, "delsnapshot");
  try {
    await sweepAbandoned(host, CONTAINERS);
    await requireSnapshot(host, name, snapshot);
    await takeAway(host, snapshotFolder(name, snapshot), CONTAINERS, name);
  } finally {
    await release();
  }
}

/** Whether a container has subvolumes of its own in its tree, which no snapshot of it holds. */
export async function hasSubvolumesInside(host: HostView, name: string): Promise<boolean> {
  const rootfs = join(containerFolder(name), "rootfs");
  // of a container that lost its tree a rollback is what mends it
  if (!isSubvolume(await host.stat(rootfs))) return false;
  const listed = await host.probe(["btrfs", "subvolume", "list", "-o", "--", rootfs]);
  // it fails of one that lies deeper than a path can name
  return listed.exitCode !== 0 || listed.stdout.trim() !== "";
}
