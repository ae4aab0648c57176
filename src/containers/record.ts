import { join } from "node:path";
import { type ContainerNetwork, NETWORKS } from "../config/names.ts";
import { exactly, isNumber, isText, listOf, orNothing, readWritten, type Shape } from "../config/written-json.ts";
import { UserError } from "../host/errors.ts";
import type { Host, HostView } from "../host/host.ts";
import { holdingSoon } from "../host/until.ts";
import { CONTAINERS, RUNTIME } from "../paths.ts";

/** What the host itself holds true of a container; nothing a guest writes changes it. */
export interface ContainerRecord {
  readonly schema: 1;
  readonly name: string;
  readonly template: string;
  readonly templateVersion: string;
  readonly network: ContainerNetwork;
  /** Address asked for, in CIDR notation; takes effect with the bridge. */
  readonly ip?: string;
  readonly cores: number;
  readonly memoryMiB: number;
  readonly swapMiB: number;
  /** Limits that were asked for and that this host cannot enforce. */
  readonly limitsNotInForce: readonly string[];
  /** ISO 8601, UTC. */
  readonly createdAt: string;
  /** The container that it was cloned from, by the name that one had then. */
  readonly clonedFrom?: string;
  /** The snapshot of it, where it was none of its present state. */
  readonly clonedSnapshot?: string;
}

const SHAPE: Shape<ContainerRecord> = {
  schema: exactly(1),
  name: isText,
  template: isText,
  templateVersion: isText,
  network: exactly(...NETWORKS),
  ip: orNothing(isText),
  cores: isNumber,
  memoryMiB: isNumber,
  swapMiB: isNumber,
  limitsNotInForce: listOf(isText),
  createdAt: isText,
  clonedFrom: orNothing(isText),
  clonedSnapshot: orNothing(isText),
};

/** Folder of a container: `rootfs`, `config` for LXC, `container.json`, and `snapshots` when there were any. */
export function containerFolder(name: string): string {
  return join(CONTAINERS, name);
}

/** Names of all containers in the pool. */
export async function listContainers(host: HostView): Promise<string[]> {
  return ((await host.list(CONTAINERS)) ?? []).filter((name) => !name.startsWith("."));
}

/** @throws {UserError} when there is nothing of such a container; what there is need not be whole */
export async function requireContainer(host: HostView, name: string): Promise<void> {
  if ((await host.stat(containerFolder(name))) === undefined) throw noContainer(name);
}

function noContainer(name: string): UserError {
  return new UserError(`There is no container ${name}`, { hint: "op-dbus container list" });
}

/** The record in a folder that is, or was, a container's, under whichever name; undefined when it cannot be read. */
export async function recordIn(host: HostView, folder: string): Promise<ContainerRecord | undefined> {
  return readWritten(await host.readText(recordFile(folder)), SHAPE);
}

/** Where the record of a container lies in its folder. */
export function recordFile(folder: string): string {
  return join(folder, "container.json");
}

/** A record as it is written. */
export function recordText(record: ContainerRecord): string {
  return `${JSON.stringify(record, null, 2)}\n`;
}

/**
 * Holds a container against other work on its folder until the returned function is called.
 * @throws {UserError} with exit code 6, naming who is at it
 */
export async function lockContainer(host: Host, name: string, work: string): Promise<() => Promise<void>> {
  return host.lock(lockFile(name), lockHolder(name, work));
}

function lockFile(name: string): string {
  return `${RUNTIME}/container-${name}.lock`;
}

function lockHolder(name: string, work: string): string {
  return `container ${work} ${name}, process ${process.pid}, since ${new Date().toISOString()}`;
}

function halfRenamed(name: string, to: string): UserError {
  return new UserError(`The renaming of ${name} to ${to} was cut off`, {
    hint: `op-dbus container rename ${name} ${to}   # goes on where it ended`,
  });
}

/** @throws {UserError} when a renaming of a container that had this name was cut off */
export async function refuseHalfRenamed(host: HostView, name: string): Promise<void> {
  for (const other of await listContainers(host)) {
    if (other !== name && (await recordIn(host, containerFolder(other)))?.name === name) throw halfRenamed(name, other);
  }
}

/**
 * Holds a container for a moment, in which its record and its files belong to the same time.
 * @throws {UserError} with exit code 6 when others are at it for longer
 */
export async function holding<T>(host: Host, name: string, work: string, use: () => Promise<T>): Promise<T> {
  return holdingSoon(host, lockFile(name), lockHolder(name, work), use);
}

/** @throws {UserError} when there is no such container, or its record is broken */
export async function readRecord(host: HostView, name: string): Promise<ContainerRecord> {
  const path = recordFile(containerFolder(name));
  const text = await host.readText(path);
  if (text !== undefined) {
    const record = readWritten(text, SHAPE);
    if (record?.name === name) return record;
    if (record !== undefined && (await host.stat(containerFolder(record.name))) === undefined)
      throw halfRenamed(record.name, name);
    throw new UserError(`Unable to read the record of ${name}: ${path} is broken`, {
      hint: `restore ${path}, or remove the container: op-dbus container destroy ${name} --force`,
    });
  }
  if ((await host.stat(containerFolder(name))) !== undefined) {
    throw new UserError(`Unable to read the record of ${name}: ${path} is missing`, {
      hint: `op-dbus container destroy ${name} --force   # removes what is left of it`,
    });
  }
  throw noContainer(name);
}
