import { join } from "node:path";
import type { Host, HostView } from "../host/host.ts";
import { CONTAINERS } from "../paths.ts";
import { borrowing, sweepAbandoned } from "../pool/claims.ts";
import { requirePool } from "../pool/find-pool.ts";
import { replaceNested, snapshotSubvolume } from "../pool/subvolumes.ts";
import { makeContainer } from "./create.ts";
import { readConfig } from "./describe.ts";
import { forgetIdentity } from "./identity.ts";
import { clonedConfig, withoutKeys } from "./lxc-config.ts";
import { containerFolder, type ContainerRecord, holding, readRecord } from "./record.ts";
import { readSnapshot, type SnapshotState } from "./snapshot.ts";

/** What is cloned: a container as it was when we looked, or as a snapshot holds it. */
export interface Original {
  readonly name: string;
  readonly snapshot: string | undefined;
  /** Its root file system is a copy that has no identity any more. */
  readonly state: SnapshotState;
}

/**
 * Makes a copy of what is to be cloned, running or stopped, without what tells
 * one machine from another, for as long as `use` runs: all clones of a batch
 * come from the same moment, and each costs no more than a new container.
 * @param snapshot a snapshot of the container; its present state unless given
 * @throws {UserError} when there is no such container or snapshot, or it is not whole
 */
export async function withOriginal<T>(
  host: Host,
  name: string,
  snapshot: string | undefined,
  use: (original: Original) => Promise<T>,
): Promise<T> {
  await requirePool(host);
  await findState(host, name, snapshot);
  await sweepAbandoned(host, CONTAINERS);
  return borrowing(host, CONTAINERS, name, async (work) => {
    const rootfs = join(work, "rootfs");
    const state = await takeState(host, name, snapshot, rootfs);
    await replaceNested(host, rootfs);
    const config = (await forgetIdentity(host, rootfs)) ? withoutKeys(state.config) : state.config;
    return use({ name, snapshot, state: { record: state.record, config, rootfs } });
  });
}

/** Copies the tree, and gives the record and the configuration that belong to it. */
async function takeState(host: Host, name: string, snapshot: string | undefined, to: string): Promise<SnapshotState> {
  // a rollback in between would give the limits of one time with the files of another
  return holding(host, name, "clone", async () => {
    const state = await findState(host, name, snapshot);
    await snapshotSubvolume(host, state.rootfs, to);
    return state;
  });
}

async function findState(host: HostView, name: string, snapshot: string | undefined): Promise<SnapshotState> {
  const record = await readRecord(host, name);
  if (snapshot !== undefined) return readSnapshot(host, name, snapshot);
  return { record, config: await readConfig(host, name), rootfs: join(containerFolder(name), "rootfs") };
}

/** What of its original a clone does not get: no two containers may have it. */
export function leftOut({ state: { record, config } }: Original): string[] {
  const address = record.ip === undefined ? [] : [`the address ${record.ip}`];
  return [...address, ...clonedConfig(config, record.name, record.name).leftOut];
}

/**
 * Makes a container from another. It has the same files and limits, and an
 * identity, a host name and a record of its own; no address, no snapshots, no
 * start with the host. A failure leaves nothing behind.
 */
export async function cloneContainer(
  host: Host,
  name: string,
  { name: clonedFrom, snapshot, state }: Original,
): Promise<ContainerRecord> {
  const { ip: _, clonedSnapshot: __, ...inherited } = state.record;
  const record: ContainerRecord = {
    ...inherited,
    name,
    createdAt: new Date().toISOString(),
    clonedFrom,
    ...(snapshot === undefined ? {} : { clonedSnapshot: snapshot }),
  };
  const { text } = clonedConfig(state.config, state.record.name, name);
  await makeContainer(host, record, state.rootfs, text);
  return record;
}
