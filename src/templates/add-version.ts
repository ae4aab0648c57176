import { join } from "node:path";
import { UserError } from "../host/errors.ts";
import type { Host } from "../host/host.ts";
import { discard, making, sweepAbandoned } from "../pool/claims.ts";
import { setReadOnly } from "../pool/subvolumes.ts";
import type { Report } from "../report/report.ts";
import { FORBIDDEN } from "./contents.ts";
import { digestTree } from "./digest.ts";
import {
  listVersions,
  makeCurrent,
  type Manifest,
  templateFolder,
  type TemplateVersion,
  versionFolder,
} from "./manifest.ts";
import { listPackages } from "./packages.ts";
import { findWhole } from "./versions.ts";

/** What only the source of a version knows of it. */
export type Facts = Pick<Manifest, "suite" | "definition" | "sourceDateEpoch" | "origin">;

/** A version that is to be made. */
export interface NewVersion {
  readonly name: string;
  /** Its name; a number is put after it where that is taken. */
  readonly stamp: string;
  /** What the work is called while it runs. */
  readonly task: string;
  /** Makes the subvolume `rootfs` with all that is to be in it. */
  readonly fill: (rootfs: string, stamp: string) => Promise<Facts>;
  /** Refuses content that no version has yet: it is undone then, and there is no result. */
  readonly onlyKnown?: boolean;
}

/**
 * Adds a version to a template, whatever its tree comes from: fills it, looks
 * for what must not be in it, seals it, and makes it the current one in one
 * step. The caller holds the template's lock. What fails or is cut off leaves
 * no trace: what a killed process left is removed by the next.
 * @returns its manifest; that of an older version when the content is the same
 */
export async function addVersion(
  host: Host,
  wanted: NewVersion & { onlyKnown?: false },
  report: Report,
): Promise<Manifest>;
export async function addVersion(host: Host, wanted: NewVersion, report: Report): Promise<Manifest | undefined>;
export async function addVersion(host: Host, wanted: NewVersion, report: Report): Promise<Manifest | undefined> {
  const { name, stamp } = wanted;
  const folder = templateFolder(name);
  await host.makeDirectory(join(folder, "versions"), { mode: 0o700 });
  for (const left of await sweepAbandoned(host, folder)) {
    report({ kind: "say", text: `removed ${left}, which a build that was cut off had left` });
  }
  try {
    return await making(host, folder, stamp, (work) => makeVersion(host, wanted, work, report));
  } catch (error) {
    const isEmpty = (await host.list(join(folder, "versions")))?.length === 0;
    // what is left beside it must not be lost from sight
    if (isEmpty && (await host.list(folder))?.length === 1) await host.remove(folder);
    throw error;
  }
}

async function makeVersion(
  host: Host,
  { name, stamp, task, fill, onlyKnown }: NewVersion,
  work: string,
  report: Report,
): Promise<Manifest | undefined> {
  const started = Date.now();
  const rootfs = join(work, "rootfs");
  await host.makeDirectory(join(work, "config"), { mode: 0o700 });
  const facts = await fill(rootfs, stamp);
  await refuseSecrets(host, rootfs);
  report({ kind: "progress", task, detail: "sealing" });
  // on the disk before it is anybody's current version
  await host.run(["btrfs", "filesystem", "sync", rootfs]);
  await setReadOnly(host, rootfs, true);
  const content = await digestTree(host, rootfs);
  const same = await findWhole(host, name, content.digest);
  if (same) {
    report({ kind: "say", text: `this is version ${same.version} again, bit by bit` });
    await discard(host, work);
    await makeCurrent(host, name, same.version);
    return same;
  }
  if (onlyKnown) {
    await discard(host, work);
    return undefined;
  }
  const version = freeVersion(await listVersions(host, name), stamp);
  const manifest: Manifest = {
    schema: 1,
    name,
    version,
    ...facts,
    digest: content.digest,
    builtAt: new Date(started).toISOString(),
    buildSeconds: Math.round((Date.now() - started) / 100) / 10,
    bytes: content.bytes,
    packages: await listPackages(host, rootfs),
  };
  await host.writeText(join(work, "manifest.json"), `${JSON.stringify(manifest, null, 2)}\n`, { mode: 0o600 });
  await host.rename(work, versionFolder(name, version));
  await makeCurrent(host, name, version);
  return manifest;
}

/** A moment as the name of a version: `20261123T190000Z`. @param epoch seconds since 1970 */
export function timeStamp(epoch: number): string {
  return new Date(epoch * 1000).toISOString().replaceAll(/[-:]|\.\d+/g, "");
}

/** A version's name is the time stamp it carries, with a number after it, one above those there. */
function freeVersion(versions: readonly TemplateVersion[], stamp: string): string {
  const numbers = versions
    .filter(({ version }) => version === stamp || version.startsWith(`${stamp}.`))
    .map(({ version }) => Number(version.slice(stamp.length + 1) || 1));
  return numbers.length === 0 ? stamp : `${stamp}.${Math.max(...numbers) + 1}`;
}

/** @throws {UserError} when the tree holds a secret, an identity, or a device that no container may have */
async function refuseSecrets(host: Host, rootfs: string): Promise<void> {
  const devices = ["(", "-type", "b", "-o", "-type", "c", ")"];
  const secrets = FORBIDDEN.flatMap(({ path, test = [] }) => ["-o", "(", "-path", `${rootfs}${path}`, ...test, ")"]);
  // find follows no link: a tree that somebody else shaped leads it nowhere
  const look = ["find", rootfs, "-xdev", "(", ...devices, ...secrets, ")", "-printf", String.raw`%y %P\0`] as const;
  const found = (await host.run(look)).stdout.split("\0").filter((line) => line !== "");
  if (found.length === 0) return;
  const device = found.find((line) => /^[bc] /.test(line));
  if (device !== undefined) {
    throw new UserError(`The template holds devices: /${device.slice(2)}`, { hint: "remove what makes them" });
  }
  const path = `/${found[0]?.slice(2)}`;
  const what = FORBIDDEN.find((each) => each.path === path)?.what ?? "a secret";
  throw new UserError(`The template holds ${what} (${path}), which every clone would share`, {
    hint: "remove it: with a command at the end of the definition, or from the archive",
  });
}
