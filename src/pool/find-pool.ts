import { dirname, resolve } from "node:path";
import { EXIT, UserError } from "../host/errors.ts";
import type { HostView } from "../host/host.ts";
import { CONTAINERS, IMAGE_GOING, POOL, POOL_IMAGE, POOL_MOUNT_UNIT, POOL_MOUNT_UNIT_FILE } from "../paths.ts";
import { listMounts, type Mount, mountAt, mountHolding } from "../host/mounts.ts";
import { inMiB, planDevice, planLoop, type PoolPlan, type PoolRequest } from "./plan-pool.ts";
import { isSubvolume } from "./subvolumes.ts";

/** What a look for the pool found. */
export type PoolFinding =
  | {
      readonly state: "ready";
      readonly kind: "subvolume" | "loop" | "device";
      /** What was asked for and is not so: a request is for a new pool. */
      readonly unmet?: string;
    }
  | PoolPlan;

/** What the pool is, or what it takes to make it. */
export async function findPool(host: HostView, request: PoolRequest): Promise<PoolFinding> {
  const mounts = await listMounts(host);
  const mounted = mountAt(mounts, POOL);
  if (mounted && mounted.type !== "btrfs") {
    return {
      state: "blocked",
      reason: `${POOL} is a mount of ${mounted.type} (${mounted.source}), and the pool must be BTRFS`,
      hint: `umount ${POOL}   # after moving away what is in it`,
    };
  }
  const unit = await host.readText(POOL_MOUNT_UNIT_FILE);
  if (mounted) return describeReady(host, kindOf(mounts, mounted, unit), request, mounted.source);
  if (unit !== undefined) return findUnmounted(host, unit);
  const inside = await host.list(POOL);
  const there = await host.stat(POOL);
  if (there !== undefined && there.type !== "directory") {
    return { state: "blocked", reason: `${POOL} exists and is no folder`, hint: `mv ${POOL} ${POOL}.before` };
  }
  if (inside !== undefined && isSubvolume(there)) return describeReady(host, "subvolume", request);
  if (inside !== undefined && inside.length > 0) {
    return {
      state: "blocked",
      reason: `${POOL} exists and holds ${inside.slice(0, 3).join(", ")}, but it is neither a BTRFS mount nor a subvolume`,
      hint: `mv ${POOL} ${POOL}.before   # then run the installation again`,
    };
  }
  if (request.sizeBytes !== undefined) return planLoop(host, request.sizeBytes);
  if (request.device !== undefined) return planDevice(host, request.device, request.confirmFormat);
  const holder = mountHolding(mounts, POOL);
  if (holder?.type === "btrfs") {
    return { state: "make", changes: [`Create the pool as the BTRFS subvolume ${POOL}`], make: { kind: "subvolume" } };
  }
  return {
    state: "blocked",
    reason: `${POOL} would lie on ${holder?.type ?? "an unknown file system"}, and the pool must be BTRFS`,
    hint: "opdbus-pve install --pool-size 20G        # a pool in a file\nopdbus-pve install --pool-device /dev/sdX # a pool on an empty disk",
  };
}

function kindOf(mounts: readonly Mount[], pool: Mount, unit: string | undefined): keyof typeof WHERE {
  if (mountsImage(unit)) return "loop";
  if (unit !== undefined) return "device";
  // systemd binds the paths that a unit may write to onto themselves: then it is the host's own file system still
  const around = mountHolding(
    mounts.filter(({ path }) => path !== POOL),
    POOL,
  );
  return around?.source === pool.source ? "subvolume" : "device";
}

/** Whether a mount unit mounts the pool's file. */
export function mountsImage(unit: string | undefined): boolean {
  return unit?.includes(`What=${POOL_IMAGE}\n`) ?? false;
}

const WHERE = { subvolume: "on the host's own BTRFS", loop: `in ${POOL_IMAGE}`, device: "on a device" };

async function describeReady(
  host: HostView,
  kind: keyof typeof WHERE,
  { sizeBytes, device }: PoolRequest,
  source = "",
): Promise<PoolFinding> {
  const image = kind === "loop" ? await host.stat(POOL_IMAGE) : undefined;
  const asked = sizeBytes !== undefined ? `a file of ${inMiB(sizeBytes)}` : device;
  const met =
    sizeBytes !== undefined
      ? (image?.size ?? 0) >= sizeBytes
      : device === undefined ||
        (kind === "device" && (await realDevice(host, source)) === (await realDevice(host, device)));
  if (met) return { state: "ready", kind };
  const where = kind === "device" ? `on ${source}` : WHERE[kind];
  const is = `${where}${image === undefined ? "" : ` and has ${inMiB(image.size)}`}`;
  return {
    state: "ready",
    kind,
    unmet: `the pool is there already, ${is}; ${asked} is for a new pool and was ignored`,
  };
}

/** A device by the name that the kernel mounts it by: /dev/disk/by-id and the like are links. */
async function realDevice(host: HostView, device: string): Promise<string> {
  const target = await host.readLink(device);
  return target === undefined ? device : resolve(dirname(device), target);
}

/** What mounts the pool. */
export const MOUNT = `systemctl start '${POOL_MOUNT_UNIT}'`;
/** What makes a host forget its pool, which stays as it is. */
export const GIVE_UP = `systemctl disable '${POOL_MOUNT_UNIT}'; rm '${POOL_MOUNT_UNIT_FILE}'`;

async function findUnmounted(host: HostView, unit: string): Promise<PoolFinding> {
  if (await isRemovalBegun(host)) return { state: "blocked", ...REMOVAL_CUT_OFF };
  if (mountsImage(unit) && (await host.stat(POOL_IMAGE)) === undefined) {
    return {
      state: "blocked",
      reason: `the pool's image ${POOL_IMAGE} is gone, and ${POOL_MOUNT_UNIT_FILE} still wants it`,
      hint: `restore ${POOL_IMAGE} from a backup, or give the pool up: ${GIVE_UP}`,
    };
  }
  return { state: "make", changes: [`Mount the pool at ${POOL}`], make: { kind: "mount" } };
}

/**
 * Refuses to work where the pool is not mounted: what would be written then
 * would be hidden by the pool later.
 * @throws {UserError} with exit code 3
 */
export async function requirePool(host: HostView): Promise<void> {
  if (isSubvolume(await host.stat(CONTAINERS))) return;
  const { reason, hint } = (await findPoolAway(host)) ?? (await findPoolFault(host));
  throw new UserError(reason, { hint, exitCode: EXIT.unsupported });
}

interface Fault {
  readonly reason: string;
  readonly hint: string;
}

const REMOVAL_CUT_OFF: Fault = {
  reason: "The removal of the pool was cut off",
  hint: "opdbus-pve uninstall --everything   # finishes it",
};

/** Whether the removal of the pool, which was in a file, was cut off when it could not be taken back any more. */
export async function isRemovalBegun(host: HostView): Promise<boolean> {
  if ((await host.stat(IMAGE_GOING)) === undefined || (await host.stat(POOL_IMAGE)) !== undefined) return false;
  const unit = await host.readText(POOL_MOUNT_UNIT_FILE);
  return (unit === undefined || mountsImage(unit)) && mountAt(await listMounts(host), POOL) === undefined;
}

/** Why the pool of this host cannot be seen now, and what mends it; undefined when it can, or there is none. */
export async function findPoolAway(host: HostView): Promise<Fault | undefined> {
  const unit = await host.readText(POOL_MOUNT_UNIT_FILE);
  if (unit === undefined || mountAt(await listMounts(host), POOL)) return undefined;
  const found = await findUnmounted(host, unit);
  if (found.state === "blocked") return found;
  return { reason: `There is no pool at ${POOL}: it is not mounted`, hint: MOUNT };
}

async function findPoolFault(host: HostView): Promise<Fault> {
  const { state } = await findPool(host, {});
  if (state !== "ready") return { reason: `There is no pool at ${POOL}`, hint: "opdbus-pve install" };
  return {
    reason: `The pool has no subvolume ${CONTAINERS}`,
    hint: `ls ${POOL}   # was it renamed? else: opdbus-pve install makes an empty one`,
  };
}
