import { join } from "node:path";
import { type ContainerNetwork, NETWORKS } from "../config/names.ts";
import { exactly, isNumber, isText, listOf, orNothing, readWritten, type Shape } from "../config/written-json.ts";
import { UserError } from "../host/errors.ts";
import type { HostView } from "../host/host.ts";
import { CONTAINERS } from "../paths.ts";

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
};

/** Folder of a container: `rootfs`, `config` for LXC, `container.json`. */
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

/** @throws {UserError} when there is no such container, or its record is broken */
export async function readRecord(host: HostView, name: string): Promise<ContainerRecord> {
  const path = join(containerFolder(name), "container.json");
  const text = await host.readText(path);
  if (text !== undefined) {
    const record = readWritten(text, SHAPE);
    if (record?.name === name) return record;
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
