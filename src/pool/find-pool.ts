import { dirname } from "node:path";
import { EXIT, UserError } from "../host/errors.ts";
import type { HostView } from "../host/host.ts";
import { CONTAINERS, HOST_STATE, POOL, POOL_IMAGE } from "../paths.ts";
import { listMounts, mountAt, mountHolding } from "./mounts.ts";
import { isSubvolume } from "./subvolumes.ts";

/** systemd's name for a mount at /var/lib/op-dbus, see systemd-escape(1). */
export const POOL_MOUNT_UNIT = String.raw`var-lib-op\x2ddbus.mount`;
/** The mount unit of a pool in a file or on a device. */
export const POOL_MOUNT_UNIT_FILE = `/etc/systemd/system/${POOL_MOUNT_UNIT}`;
const SMALLEST_POOL = 256 * 2 ** 20;

/** Where the admin wants the pool when the host's own file system is no BTRFS. */
export interface PoolRequest {
  readonly sizeBytes?: number;
  readonly device?: string;
  /** The device's name once more: without it nothing is formatted. */
  readonly confirmFormat?: string;
}

/** What a look for the pool found. */
export type PoolFinding =
  | {
      readonly state: "ready";
      readonly kind: "subvolume" | "loop" | "device";
      /** What was asked for and is not so: a request is for a new pool. */
      readonly unmet?: string;
    }
  | { readonly state: "make"; readonly changes: readonly string[]; readonly make: PoolRecipe }
  | {
      readonly state: "blocked";
      readonly reason: string;
      readonly hint: string;
      /** The device whose name, given again, would lift the block. */
      readonly confirm?: string;
    };

/** How the pool is made, as `findPool` planned it. */
export type PoolRecipe =
  | { readonly kind: "mount" }
  | { readonly kind: "subvolume" }
  | { readonly kind: "loop"; readonly sizeBytes: number; readonly image: "make" | "keep" }
  | { readonly kind: "device"; readonly device: string; readonly format: boolean };

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
  if (mounted) return describeReady(host, unit?.includes(`What=${POOL_IMAGE}\n`) ? "loop" : "device", request);
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

const WHERE = { subvolume: "on the host's own BTRFS", loop: `in ${POOL_IMAGE}`, device: "on a device" };

async function describeReady(
  host: HostView,
  kind: keyof typeof WHERE,
  { sizeBytes, device }: PoolRequest,
): Promise<PoolFinding> {
  const image = kind === "loop" ? await host.stat(POOL_IMAGE) : undefined;
  const asked = sizeBytes !== undefined ? `a file of ${inMiB(sizeBytes)}` : device;
  const met = sizeBytes !== undefined ? image?.size === sizeBytes : device === undefined || kind === "device";
  if (met) return { state: "ready", kind };
  const is = `${WHERE[kind]}${image === undefined ? "" : ` and has ${inMiB(image.size)}`}`;
  return {
    state: "ready",
    kind,
    unmet: `the pool is there already, ${is}; ${asked} is for a new pool and was ignored`,
  };
}

async function findUnmounted(host: HostView, unit: string): Promise<PoolFinding> {
  if (unit.includes(`What=${POOL_IMAGE}`) && (await host.stat(POOL_IMAGE)) === undefined) {
    return {
      state: "blocked",
      reason: `the pool's image ${POOL_IMAGE} is gone, and ${POOL_MOUNT_UNIT_FILE} still wants it`,
      hint: `restore ${POOL_IMAGE} from a backup, or give the pool up: rm '${POOL_MOUNT_UNIT_FILE}'`,
    };
  }
  return { state: "make", changes: [`Mount the pool at ${POOL}`], make: { kind: "mount" } };
}

async function planLoop(host: HostView, sizeBytes: number): Promise<PoolFinding> {
  if (sizeBytes < SMALLEST_POOL) {
    return {
      state: "blocked",
      reason: `a pool of ${inMiB(sizeBytes)} is too small`,
      hint: "opdbus-pve install --pool-size 20G   # at least 256M",
    };
  }
  const loops =
    (await host.stat("/dev/loop-control")) ??
    (await host.probe(["modprobe", "--dry-run", "--quiet", "loop"])).exitCode === 0;
  if (!loops) {
    return {
      state: "blocked",
      reason: "this kernel has no loop devices, which a pool in a file needs",
      hint: "opdbus-pve install --pool-device /dev/sdX",
    };
  }
  const image = await host.stat(POOL_IMAGE);
  if (image === undefined) {
    const { free } = await host.space((await host.stat(HOST_STATE)) ? HOST_STATE : dirname(HOST_STATE));
    if (free < sizeBytes) {
      return {
        state: "blocked",
        reason: `a pool of ${inMiB(sizeBytes)} does not fit: ${inMiB(free)} are free where ${POOL_IMAGE} would lie`,
        hint:
          free * 0.8 < SMALLEST_POOL
            ? `df -h ${dirname(HOST_STATE)}   # make room there, or choose an empty disk for the pool`
            : `opdbus-pve install --pool-size ${asSize(free * 0.8)}`,
      };
    }
  }
  return {
    state: "make",
    changes: [
      image === undefined
        ? `Create a BTRFS file system of ${inMiB(sizeBytes)} in the sparse file ${POOL_IMAGE}`
        : `Use the BTRFS file system that is in ${POOL_IMAGE}`,
      `Mount it at ${POOL}, now and at each boot (${POOL_MOUNT_UNIT})`,
    ],
    make: { kind: "loop", sizeBytes, image: image === undefined ? "make" : "keep" },
  };
}

interface BlockDevice {
  readonly fstype?: string | null;
  readonly pttype?: string | null;
  readonly mountpoints?: readonly (string | null)[];
  readonly children?: readonly unknown[];
}

async function planDevice(host: HostView, device: string, confirmed?: string): Promise<PoolFinding> {
  const found = await host.probe([
    "lsblk",
    "--json",
    "--bytes",
    "--output",
    "PATH,TYPE,FSTYPE,PTTYPE,LABEL,MOUNTPOINTS",
    "--",
    device,
  ]);
  if (found.exitCode !== 0) {
    return { state: "blocked", reason: `${device} is no block device of this host`, hint: "lsblk" };
  }
  const [disk] = (JSON.parse(found.stdout) as { blockdevices: BlockDevice[] }).blockdevices;
  // lsblk asks udev, which may not know; the signature on the disk itself decides
  const signature = await host.probe(["blkid", "--probe", "--output", "export", "--", device]);
  const type = /^TYPE=(.+)$/m.exec(signature.stdout)?.[1] ?? /^PTTYPE=(.+)$/m.exec(signature.stdout)?.[1];
  const mount = `Mount it at ${POOL}, now and at each boot (${POOL_MOUNT_UNIT})`;
  const mountedAt = disk?.mountpoints?.find((path) => path !== null);
  if (mountedAt !== undefined) {
    return {
      state: "blocked",
      reason: `${device} is in use: it is mounted at ${mountedAt}`,
      hint: "lsblk   # choose another device",
    };
  }
  if (type === "btrfs") {
    const ours = /^LABEL=opdbus$/m.test(signature.stdout);
    if (!ours && confirmed !== device) {
      return {
        state: "blocked",
        reason: `${device} holds a BTRFS file system that is not ours; using it must be confirmed by its name`,
        hint: `opdbus-pve install --pool-device ${device} --confirm-format ${device}   # it is used as it is, never formatted`,
        confirm: device,
      };
    }
    return {
      state: "make",
      changes: [`Use the BTRFS file system that is on ${device}, as it is`, mount],
      make: { kind: "device", device, format: false },
    };
  }
  // blkid says 2 for an empty device, and also for one that it cannot read: then it says why
  const empty =
    signature.exitCode === 2 &&
    signature.stdout === "" &&
    signature.stderr.trim() === "" &&
    !disk?.fstype &&
    !disk?.pttype;
  if (!empty || (disk?.children?.length ?? 0) > 0) {
    const what =
      type ?? disk?.fstype ?? disk?.pttype ?? (disk?.children?.length ? "it has partitions" : signature.stderr.trim());
    return {
      state: "blocked",
      reason: `${device} is not empty (${what}), and is never formatted as it is`,
      hint: `wipefs ${device}   # shows what is on it; choose an empty device`,
    };
  }
  if (confirmed !== device) {
    return {
      state: "blocked",
      reason: `${device} is empty and would be formatted, which must be confirmed by its name`,
      hint: `opdbus-pve install --pool-device ${device} --confirm-format ${device}`,
      confirm: device,
    };
  }
  return {
    state: "make",
    changes: [`Format ${device} with BTRFS`, mount],
    make: { kind: "device", device, format: true },
  };
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

/** Why the pool of this host cannot be seen now, and what mends it; undefined when it can, or there is none. */
export async function findPoolAway(host: HostView): Promise<Fault | undefined> {
  const known = (await host.stat(POOL_MOUNT_UNIT_FILE)) !== undefined;
  if (!known || mountAt(await listMounts(host), POOL)) return undefined;
  return { reason: `There is no pool at ${POOL}: it is not mounted`, hint: `systemctl start '${POOL_MOUNT_UNIT}'` };
}

async function findPoolFault(host: HostView): Promise<Fault> {
  const { state } = await findPool(host, {});
  if (state !== "ready") return { reason: `There is no pool at ${POOL}`, hint: "opdbus-pve install" };
  return {
    reason: `The pool has no subvolume ${CONTAINERS}`,
    hint: `ls ${POOL}   # was it renamed? else: opdbus-pve install makes an empty one`,
  };
}

function asSize(bytes: number): string {
  return bytes >= 2 ** 30 ? `${Math.floor(bytes / 2 ** 30)}G` : `${Math.floor(bytes / 2 ** 20)}M`;
}

function inMiB(bytes: number): string {
  return bytes >= 2 ** 30 ? `${+(bytes / 2 ** 30).toFixed(1)} GiB` : `${Math.floor(bytes / 2 ** 20)} MiB`;
}
