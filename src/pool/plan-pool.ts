import { dirname } from "node:path";
import { shellText } from "../host/command-failed.ts";
import type { HostView } from "../host/host.ts";
import { HOST_STATE, POOL, POOL_IMAGE, POOL_MOUNT_UNIT } from "../paths.ts";

const SMALLEST_POOL = 256 * 2 ** 20;

/** Where the admin wants the pool when the host's own file system is no BTRFS. */
export interface PoolRequest {
  readonly sizeBytes?: number;
  readonly device?: string;
  /** The device's name once more: without it nothing is formatted. */
  readonly confirmFormat?: string;
}

/** How the pool is made, as `findPool` planned it. */
export type PoolRecipe =
  | { readonly kind: "mount" }
  | { readonly kind: "subvolume" }
  | { readonly kind: "loop"; readonly sizeBytes: number; readonly image: "make" | "keep" }
  | { readonly kind: "device"; readonly device: string; readonly format: boolean };

/** What it takes to make a pool, or why that cannot be. */
export type PoolPlan =
  | { readonly state: "make"; readonly changes: readonly string[]; readonly make: PoolRecipe }
  | {
      readonly state: "blocked";
      readonly reason: string;
      readonly hint: string;
      /** The device whose name, given again, would lift the block. */
      readonly confirm?: string;
    };

/** A pool in a sparse file of that size. */
export async function planLoop(host: HostView, sizeBytes: number): Promise<PoolPlan> {
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

/** A pool on a device, which is formatted only when it is empty and was confirmed by its name. */
export async function planDevice(host: HostView, device: string, confirmed?: string): Promise<PoolPlan> {
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
        hint: `${confirming(device)}   # it is used as it is, never formatted`,
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
      hint: `${shellText(["wipefs", device])}   # shows what is on it; choose an empty device`,
    };
  }
  if (confirmed !== device) {
    return {
      state: "blocked",
      reason: `${device} is empty and would be formatted, which must be confirmed by its name`,
      hint: confirming(device),
      confirm: device,
    };
  }
  return {
    state: "make",
    changes: [`Format ${device} with BTRFS`, mount],
    make: { kind: "device", device, format: true },
  };
}

function confirming(device: string): string {
  return shellText(["opdbus-pve", "install", "--pool-device", device, "--confirm-format", device]);
}

/** A size as `--pool-size` takes it, rounded down. */
export function asSize(bytes: number): string {
  return bytes >= 2 ** 30 ? `${Math.floor(bytes / 2 ** 30)}G` : `${Math.floor(bytes / 2 ** 20)}M`;
}

/** A size as the messages of pools give it. */
export function inMiB(bytes: number): string {
  return bytes >= 2 ** 30 ? `${+(bytes / 2 ** 30).toFixed(1)} GiB` : `${Math.floor(bytes / 2 ** 20)} MiB`;
}
