import { join } from "node:path";
import type { ContainerNetwork } from "../config/names.ts";
import { errnoOf, EXIT, UserError } from "../host/errors.ts";
import type { Host, HostView } from "../host/host.ts";
import { discardFailed, making, sweepAbandoned } from "../pool/claims.ts";
import { CONTAINERS } from "../paths.ts";
import { requirePool } from "../pool/find-pool.ts";
import { snapshotSubvolume } from "../pool/subvolumes.ts";
import { requireVersion, versionFolder } from "../templates/manifest.ts";
import { findIdRange } from "./id-range.ts";
import { haltSignalOf, type HostFacts, limitsWithoutController, lxcConfig, MOST_KEY_BYTES } from "./lxc-config.ts";
import { leavePartial, replaceDraft, requireDraft } from "./lxc-draft.ts";
import { isLinked, linkForLxc, LXC_PATH, refuseForeign } from "./lxc-link.ts";
import { containerFolder, type ContainerRecord, recordFile, recordText, refuseHalfRenamed } from "./record.ts";

/** What a new container should be. */
export interface ContainerRequest {
  readonly template: string;
  readonly templateVersion?: string;
  readonly network: ContainerNetwork;
  readonly ip?: string;
  readonly cores: number;
  readonly memoryMiB: number;
  readonly swapMiB: number;
  readonly sshKeys: readonly string[];
  /** Whether a limit that this host cannot enforce is an error or only said. */
  readonly limits: "enforce" | "best-effort";
}

/** A request that was held against this host: all that is the same for every container of a batch. */
export interface Preparation {
  readonly request: ContainerRequest;
  readonly version: string;
  readonly facts: HostFacts;
  readonly limitsNotInForce: readonly string[];
}

/**
 * Checks what a batch of containers needs, once.
 * @throws {UserError} when the pool or the template is missing, the network is
 *   not there yet, or a limit cannot be enforced
 */
export async function prepareCreate(host: Host, request: ContainerRequest): Promise<Preparation> {
  await requirePool(host);
  const keyBytes = Buffer.byteLength(request.sshKeys.join("\n"));
  if (keyBytes > MOST_KEY_BYTES) {
    throw new UserError(
      `The SSH keys have ${keyBytes} bytes together, and a container can be given ${MOST_KEY_BYTES}`,
      {
        hint: "give fewer keys, or put them into a template: root_ssh_keys of its definition",
        exitCode: EXIT.usage,
      },
    );
  }
  if (request.network === "mesh") {
    throw new UserError("Mesh networking is not there yet: this version knows no Netmaker", {
      hint: "--network socket or --network none",
      exitCode: EXIT.unsupported,
    });
  }
  const version = await requireVersion(host, request.template, request.templateVersion);
  const idRangeStart = await findIdRange(host);
  if (idRangeStart === undefined) {
    throw new UserError("root has no range of subordinate ids for containers", {
      hint: "opdbus-pve install",
      exitCode: EXIT.unsupported,
    });
  }
  const controllers = ((await host.readText("/sys/fs/cgroup/cgroup.controllers")) ?? "").trim().split(/\s+/);
  const missing = limitsWithoutController(request, controllers);
  if (missing.length > 0 && request.limits === "enforce") {
    throw new UserError(`This host cannot limit ${missing.join(", ")}: its cgroup2 has no such controller`, {
      hint: 'boot with cgroup2 for all controllers, or accept it: [container] limits = "best-effort" in /etc/opdbus/opdbus.toml',
      exitCode: EXIT.unsupported,
    });
  }
  for (const folder of [CONTAINERS, LXC_PATH]) await sweepAbandoned(host, folder);
  const init = await host.readLink(join(versionFolder(request.template, version), "rootfs/sbin/init"));
  const facts = { idRangeStart, controllers, haltSignal: haltSignalOf(init) };
  return { request, version, facts, limitsNotInForce: missing };
}

/**
 * @param forLxcCreate the name is taken by what lxc-create has begun, and nothing else
 * @throws {UserError} when the name is taken, by a container of ours or any other that LXC knows
 */
export async function refuseTaken(host: HostView, name: string, forLxcCreate = false): Promise<void> {
  if ((await host.stat(containerFolder(name))) !== undefined) throw nameTaken(name);
  if (forLxcCreate) return requireDraft(host, name);
  await refuseForeign(host, name);
  // a link to nothing is of a destroy, or of a renaming, that was cut off
  if (await isLinked(host, name)) await refuseHalfRenamed(host, name);
}

/**
 * Makes a container from a template. A failure leaves nothing behind.
 * @param forLxcCreate takes the place of what lxc-create has begun under this name
 */
export async function createContainer(
  host: Host,
  name: string,
  prepared: Preparation,
  forLxcCreate = false,
): Promise<ContainerRecord> {
  const { request, facts, version, limitsNotInForce } = prepared;
  const record: ContainerRecord = {
    schema: 1,
    name,
    template: request.template,
    templateVersion: version,
    network: request.network,
    ...(request.ip === undefined ? {} : { ip: request.ip }),
    cores: request.cores,
    memoryMiB: request.memoryMiB,
    swapMiB: request.swapMiB,
    limitsNotInForce,
    createdAt: new Date().toISOString(),
  };
  const template = join(versionFolder(request.template, version), "rootfs");
  await makeContainer(host, record, template, lxcConfig(record, facts, request.sshKeys), forLxcCreate);
  return record;
}

/**
 * Makes a container: a snapshot of a root file system, its record, and LXC's
 * configuration, all under a hidden name; renaming it is the moment at which
 * it exists. A failure leaves nothing behind.
 * @param from the subvolume that it starts from
 * @param config LXC's configuration
 * @param forLxcCreate takes the place of what lxc-create has begun under this name
 * @throws {UserError} when the name is taken
 */
export async function makeContainer(
  host: Host,
  record: ContainerRecord,
  from: string,
  config: string,
  forLxcCreate = false,
): Promise<void> {
  const { name } = record;
  await refuseTaken(host, name, forLxcCreate);
  await making(host, CONTAINERS, name, async (work) => {
    await host.createText(recordFile(work), recordText(record), { mode: 0o600 });
    await host.createText(join(work, "config"), config, { mode: 0o600 });
    if (forLxcCreate) await leavePartial(host, work);
    await snapshotSubvolume(host, from, join(work, "rootfs"));
    await renameToFree(host, work, name);
  });
  try {
    await (forLxcCreate ? replaceDraft(host, name) : linkForLxc(host, name));
  } catch (error) {
    throw await discardFailed(host, containerFolder(name), error);
  }
}

// rename(2) onto a folder that is not empty fails, and ours never are: two creates of one name cannot both win
async function renameToFree(host: Host, work: string, name: string): Promise<void> {
  try {
    await host.rename(work, containerFolder(name));
  } catch (error) {
    if (!["ENOTEMPTY", "EEXIST"].includes(errnoOf(error) ?? "")) throw error;
    throw nameTaken(name, error);
  }
}

/** What is told of a name that a container of ours has. */
export function nameTaken(name: string, cause?: unknown): UserError {
  return new UserError(`There is a container ${name} already`, { hint: `op-dbus container show ${name}`, cause });
}
