import { join } from "node:path";
import { ID_RANGE_SIZE } from "../config/limits.ts";
import type { Host, HostView } from "../host/host.ts";
import { making, sweepAbandoned, takeAway } from "../pool/claims.ts";
import { refuseUnshiftable, shiftIds } from "../pool/shift-ids.ts";
import { isReadOnly, isSubvolume, setReadOnly, snapshotSubvolume } from "../pool/subvolumes.ts";
import {
  listVersions,
  lockTemplate,
  requireSealed,
  requireVersion,
  templateFolder,
  versionFolder,
} from "./manifest.ts";

/**
 * A version with its ids shifted on the disk, which is what the unprivileged
 * containers of Proxmox VE want: the same files, sealed as well. It lies in the
 * version's folder and goes with it.
 */
export interface Twin {
  readonly version: string;
  /** What id 0 is on the disk; 65536 ids follow each other. */
  readonly idStart: number;
  /** Its root file system. */
  readonly path: string;
}

function twinFolder(name: string, version: string, idStart: number): string {
  return join(versionFolder(name, version), `shifted-${idStart}`);
}

function twinOf(name: string, version: string, idStart: number): Twin {
  return { version, idStart, path: join(twinFolder(name, version, idStart), "rootfs") };
}

/** The twins of a version, lowest ids first. */
export async function listTwins(host: HostView, name: string, version: string): Promise<Twin[]> {
  const twins: Twin[] = [];
  for (const folder of (await host.list(versionFolder(name, version))) ?? []) {
    const idStart = /^shifted-(\d+)$/.exec(folder)?.[1];
    if (idStart === undefined) continue;
    const twin = twinOf(name, version, Number(idStart));
    if (isSubvolume(await host.stat(twin.path))) twins.push(twin);
  }
  return twins.toSorted((one, other) => one.idStart - other.idStart);
}

/** The twins of all versions of a template, those of the oldest version first. */
export async function listAllTwins(host: HostView, name: string): Promise<Twin[]> {
  const versions = await listVersions(host, name);
  return (await Promise.all(versions.map(({ version }) => listTwins(host, name, version)))).flat();
}

/** A twin that is there; undefined when it is not, or is not sealed any more. */
export async function findTwin(
  host: HostView,
  name: string,
  version: string,
  idStart: number,
): Promise<Twin | undefined> {
  const twin = twinOf(name, version, idStart);
  return (await isReadOnly(host, twin.path)) ? twin : undefined;
}

/**
 * Makes the twin of a version, where there is none: a snapshot that shares all
 * data with it, with ids shifted, sealed, and then put in its place in one
 * step. One that is not sealed any more is made anew.
 * @throws {UserError} when there is no such version, or something in it cannot be shifted
 */
export async function shiftTemplate(host: Host, name: string, version: string, idStart: number): Promise<Twin> {
  const release = await lockTemplate(host, name, "shift");
  try {
    await sweepAbandoned(host, templateFolder(name));
    await requireVersion(host, name, version);
    return (await findTwin(host, name, version, idStart)) ?? (await makeTwin(host, name, version, idStart));
  } finally {
    await release();
  }
}

async function makeTwin(host: Host, name: string, version: string, idStart: number): Promise<Twin> {
  const shift = { start: idStart, size: ID_RANGE_SIZE };
  const rootfs = join(versionFolder(name, version), "rootfs");
  await requireSealed(host, name, version);
  await refuseUnshiftable(host, rootfs, shift);
  await making(host, templateFolder(name), `${version}-shifted-${idStart}`, async (work) => {
    await snapshotSubvolume(host, rootfs, join(work, "rootfs"));
    await shiftIds(host, join(work, "rootfs"), shift);
    // on the disk before it is anybody's twin
    await host.run(["btrfs", "filesystem", "sync", join(work, "rootfs")]);
    await setReadOnly(host, join(work, "rootfs"), true);
    await removeOpened(host, name, version, idStart);
    await host.rename(work, twinFolder(name, version, idStart));
  });
  return twinOf(name, version, idStart);
}

async function removeOpened(host: Host, name: string, version: string, idStart: number): Promise<void> {
  const folder = twinFolder(name, version, idStart);
  if ((await host.stat(folder)) === undefined) return;
  await takeAway(host, folder, templateFolder(name), `${version}-shifted-${idStart}`);
}
