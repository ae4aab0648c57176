import { join } from "node:path";
import { UserError } from "../host/errors.ts";
import type { Host } from "../host/host.ts";
import { claimName, discard } from "../pool/claims.ts";
import { isReadOnly } from "../pool/subvolumes.ts";
import { digestTree } from "./digest.ts";
import { listVersions, readManifest, requireVersion, templateFolder, versionFolder } from "./manifest.ts";

export interface Verdict {
  readonly name: string;
  readonly version: string;
  readonly sealed: boolean;
  readonly wanted: string;
  readonly found: string;
  readonly ok: boolean;
}

/** Computes a version's digest anew and compares it with its manifest. */
export async function verifyTemplate(host: Host, name: string, version?: string): Promise<Verdict> {
  const chosen = await requireVersion(host, name, version);
  const rootfs = join(versionFolder(name, chosen), "rootfs");
  const { digest: wanted } = await readManifest(host, name, chosen);
  const sealed = await isReadOnly(host, rootfs);
  const { digest: found } = await digestTree(host, rootfs);
  return { name, version: chosen, sealed, wanted, found, ok: sealed && wanted === found };
}

/**
 * Removes one version of a template, or all of it. Containers made from it
 * keep what they share with it.
 * @returns the versions that were removed
 * @throws {UserError} when there is no such version, or it is the current one
 *   of several
 */
export async function removeTemplate(host: Host, name: string, version?: string): Promise<string[]> {
  const versions = await listVersions(host, name);
  if (version !== undefined) {
    const chosen = versions.find((one) => one.version === version);
    if (chosen?.current && versions.length > 1) {
      throw new UserError(`${version} is the current version of ${name}`, {
        hint: `op-dbus template build ${name}   # makes a newer one current; or remove the whole template`,
      });
    }
    if (chosen && versions.length > 1) {
      await removeVersion(host, name, version);
      return [version];
    }
    await requireVersion(host, name, version);
  } else if ((await host.stat(templateFolder(name))) === undefined) {
    await requireVersion(host, name);
  }
  // without the link nothing can be cloned from it any more; then what it pointed to
  await host.remove(join(templateFolder(name), "rootfs"));
  for (const each of versions) await removeVersion(host, name, each.version);
  await host.remove(templateFolder(name));
  return versions.map((each) => each.version);
}

/**
 * Removes the oldest versions beyond a number to keep; the current one stays.
 * @returns the versions that were removed
 */
export async function pruneVersions(host: Host, name: string, keep: number): Promise<string[]> {
  const versions = await listVersions(host, name);
  const surplus = versions.slice(0, Math.max(0, versions.length - keep)).filter((one) => !one.current);
  for (const { version } of surplus) await removeVersion(host, name, version);
  return surplus.map(({ version }) => version);
}

async function removeVersion(host: Host, name: string, version: string): Promise<void> {
  const gone = join(templateFolder(name), await claimName(host, "gone", version));
  await host.rename(versionFolder(name, version), gone);
  await discard(host, gone);
}
