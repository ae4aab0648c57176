import { join } from "node:path";
import { UserError } from "../host/errors.ts";
import type { Host, HostView } from "../host/host.ts";
import { discard, findAbandoned, takeAway } from "../pool/claims.ts";
import { refuseMountsIn } from "../host/mounts.ts";
import { isReadOnly } from "../pool/subvolumes.ts";
import { digestShifted, digestTree } from "./digest.ts";
import {
  listVersions,
  lockTemplate,
  makeCurrent,
  readManifest,
  requireSealed,
  requireTemplate,
  requireVersion,
  templateFolder,
  versionFolder,
  type Manifest,
  type TemplateVersion,
} from "./manifest.ts";
import { listTwins, type Twin } from "./shifted.ts";

/** What a look at a sealed tree found. */
export interface TreeVerdict {
  readonly sealed: boolean;
  /** Its digest. */
  readonly found: string;
}

/** Whether a version is what was built, and each of its twins the same. */
export interface Verdict extends TreeVerdict {
  readonly name: string;
  readonly version: string;
  readonly wanted: string;
  readonly twins: readonly (Twin & TreeVerdict & { readonly ok: boolean })[];
  /** Of all of it. */
  readonly ok: boolean;
}

/**
 * Computes a version's digest anew and compares it with its manifest; that of
 * a twin is the same, read by those whose ids it has.
 * @throws {UserError} when there is no such version, or root may not map the ids of a twin
 */
export async function verifyTemplate(host: Host, name: string, version?: string): Promise<Verdict> {
  const chosen = await requireVersion(host, name, version);
  const { digest: wanted } = await readManifest(host, name, chosen);
  const isRight = ({ sealed, found }: TreeVerdict) => sealed && found === wanted;
  const itself = await lookAtVersion(host, name, chosen);
  const twins: Verdict["twins"][number][] = [];
  for (const twin of await listTwins(host, name, chosen)) {
    const sealed = await isReadOnly(host, twin.path);
    const found = await digestShifted(host, twin.path, twin.idStart);
    twins.push({ ...twin, sealed, found, ok: isRight({ sealed, found }) });
  }
  const ok = isRight(itself) && twins.every((twin) => twin.ok);
  return { name, version: chosen, ...itself, wanted, twins, ok };
}

async function lookAtVersion(host: Host, name: string, version: string): Promise<TreeVerdict> {
  const rootfs = join(versionFolder(name, version), "rootfs");
  return { sealed: await isReadOnly(host, rootfs), found: (await digestTree(host, rootfs)).digest };
}

/** A version with this content that is whole, sealed and unchanged. */
export async function findWhole(host: Host, name: string, digest: string): Promise<Manifest | undefined> {
  for (const { version, manifest } of await listVersions(host, name)) {
    const isThere = (await host.stat(join(versionFolder(name, version), "rootfs"))) !== undefined;
    if (manifest?.digest !== digest || !isThere) continue;
    const { sealed, found } = await lookAtVersion(host, name, version);
    if (sealed && found === digest) return manifest;
  }
  return undefined;
}

/**
 * Removes one version of a template, or all of it. Containers made from it
 * keep what they share with it.
 * @returns the versions that were removed
 * @throws {UserError} when there is no such version, or it is the current one
 *   of several
 */
export async function removeTemplate(host: Host, name: string, version?: string): Promise<string[]> {
  const release = await lockTemplate(host, name, "remove");
  try {
    await requireTemplate(host, name, version);
    const versions = await listVersions(host, name);
    const chosen =
      version === undefined || versions.length === 1 ? versions : versions.filter((one) => one.version === version);
    if (chosen.length < versions.length && chosen.some(({ current }) => current)) {
      throw new UserError(`${version} is the current version of ${name}`, {
        hint: `op-dbus template use ${name} VERSION   # makes another one current; or remove the whole template`,
      });
    }
    const all = chosen.length === versions.length;
    if (all) await refuseMountsIn(host, templateFolder(name));
    // without the link nothing can be cloned from it any more; then what it pointed to
    if (all) await host.remove(join(templateFolder(name), "rootfs"));
    for (const each of chosen) await removeVersion(host, name, each.version);
    if (all) await removeFolder(host, name);
    return chosen.map((each) => each.version);
  } finally {
    await release();
  }
}

/**
 * Makes a version the current one: new containers come from it.
 * @throws {UserError} when there is no such version, or it is not what was sealed
 */
export async function useVersion(host: Host, name: string, version: string): Promise<void> {
  const release = await lockTemplate(host, name, "use");
  try {
    await requireVersion(host, name, version);
    await readManifest(host, name, version);
    await requireSealed(host, name, version);
    await makeCurrent(host, name, version);
  } finally {
    await release();
  }
}

/**
 * The oldest versions beyond a number to keep. The current one stays, and so
 * does one whose manifest cannot be read: nobody knows how old that is.
 */
export async function surplusVersions(host: HostView, name: string, keep: number): Promise<string[]> {
  return beyond(keep, await listVersions(host, name), () => true);
}

function beyond(keep: number, versions: readonly TemplateVersion[], counts: (manifest: Manifest) => boolean): string[] {
  const counted = versions.filter(({ manifest }) => manifest !== undefined && counts(manifest));
  const surplus = counted.slice(0, Math.max(0, counted.length - keep)).filter((one) => !one.current);
  return surplus.map(({ version }) => version);
}

/**
 * Removes the surplus among the versions that were built, and could be built
 * again: not what was imported or published. The caller holds the template's lock.
 * @returns the versions that were removed
 */
export async function pruneBuilt(host: Host, name: string, keep: number): Promise<string[]> {
  const surplus = beyond(keep, await listVersions(host, name), ({ definition }) => definition !== undefined);
  for (const version of surplus) await removeVersion(host, name, version);
  return surplus;
}

/**
 * Removes versions that were found to be too many, where they still are.
 * @returns those that were removed
 */
export async function pruneTemplate(
  host: Host,
  name: string,
  { keep, versions }: { readonly keep: number; readonly versions: readonly string[] },
): Promise<string[]> {
  const release = await lockTemplate(host, name, "prune");
  try {
    const surplus = (await surplusVersions(host, name, keep)).filter((version) => versions.includes(version));
    for (const version of surplus) await removeVersion(host, name, version);
    return surplus;
  } finally {
    await release();
  }
}

/** With what cut-off builds and removals left in it: what cannot be removed is told, and stays. */
async function removeFolder(host: Host, name: string): Promise<void> {
  const folder = templateFolder(name);
  for (const left of await findAbandoned(host, folder)) await discard(host, join(folder, left));
  await discard(host, folder);
}

async function removeVersion(host: Host, name: string, version: string): Promise<void> {
  await takeAway(host, versionFolder(name, version), templateFolder(name), version);
}
