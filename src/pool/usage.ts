import type { CommandResult, HostView } from "../host/host.ts";
import { HOST_STATE, POOL, POOL_IMAGE } from "../paths.ts";
import { SUBVOLUMES } from "./layout.ts";
import { listMounts, mountHolding } from "../host/mounts.ts";
import { findPool } from "./find-pool.ts";

/** How large the pool is, and how full. */
export interface PoolUsage {
  readonly path: string;
  readonly kind: "subvolume" | "loop" | "device";
  readonly totalBytes: number;
  readonly freeBytes: number;
  /** zstd level at which the kernel compresses: one for the whole file system. */
  readonly levelInForce: number;
  /** A pool in a sparse file: how much it may still grow, and how much its host has left for that. */
  readonly growth?: { readonly mayGrowBytes: number; readonly hostFreeBytes: number };
}

/** How large a subvolume is, and what compression makes of it. */
export interface SubvolumeUsage {
  readonly name: string;
  readonly purpose: string;
  /** Bytes that its files have, uncompressed; undefined when it was not measured. */
  readonly sizeBytes?: number;
  /** Bytes that they take on the disk; shared ones count once. */
  readonly usedBytes?: number;
  /** Why it was not measured. */
  readonly unmeasured?: string;
  readonly wantedLevel: number;
}

// what the kernel takes when neither the mount nor the property names a level
const KERNEL_DEFAULT_LEVEL = 3;

/** Size and kind of the pool; undefined when there is none. */
export async function poolUsage(host: HostView): Promise<PoolUsage | undefined> {
  const pool = await findPool(host, {});
  if (pool.state !== "ready") return undefined;
  const { total, free } = await host.space(POOL);
  const options = mountHolding(await listMounts(host), POOL)?.options ?? [];
  const level = options
    .map((option) => /^compress(?:-force)?=zstd:(\d+)$/.exec(option)?.[1])
    .find((found) => found !== undefined);
  return {
    path: POOL,
    kind: pool.kind,
    totalBytes: total,
    freeBytes: free,
    levelInForce: Number(level ?? KERNEL_DEFAULT_LEVEL),
    ...(pool.kind === "loop" ? { growth: await imageGrowth(host) } : {}),
  };
}

async function imageGrowth(host: HostView) {
  const image = await host.stat(POOL_IMAGE);
  const { free: hostFreeBytes } = await host.space(HOST_STATE);
  return { mayGrowBytes: Math.max(0, (image?.size ?? 0) - (image?.allocated ?? 0)), hostFreeBytes };
}

/** Whether the host can run out of space before the pool does: then the kernel turns the pool read-only. */
export function isOvercommitted({ growth }: PoolUsage): boolean {
  return growth !== undefined && growth.mayGrowBytes > growth.hostFreeBytes;
}

/** Measures each subvolume with compsize(8); without it only the names are known. */
export async function subvolumeUsage(host: HostView): Promise<SubvolumeUsage[]> {
  const found: SubvolumeUsage[] = [];
  for (const { name, purpose, wantedLevel } of SUBVOLUMES) {
    const measured = await host.probe(["compsize", "--bytes", `${POOL}/${name}`]);
    found.push({ name, purpose, wantedLevel, ...parseCompsize(measured) });
  }
  return found;
}

/**
 * Reads `compsize --bytes`: the line TOTAL has percentage, bytes on disk,
 * bytes uncompressed, bytes referenced.
 */
export function parseCompsize({
  stdout,
  exitCode,
  stderr,
}: CommandResult): { sizeBytes: number; usedBytes: number } | { unmeasured: string } {
  // it fails where there is nothing to measure
  if (/^No files|All empty or still-delalloced files/m.test(stderr + stdout)) return { sizeBytes: 0, usedBytes: 0 };
  const [, used, size] = /^TOTAL\s+\S+\s+(\d+)\s+(\d+)/m.exec(stdout) ?? [];
  return exitCode !== 0 || used === undefined || size === undefined
    ? { unmeasured: stderr.trim() || `compsize exited with ${exitCode}` }
    : { usedBytes: Number(used), sizeBytes: Number(size) };
}
