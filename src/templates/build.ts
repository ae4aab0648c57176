import { dirname, join } from "node:path";
import { EXIT, UserError } from "../host/errors.ts";
import type { Host, HostView } from "../host/host.ts";
import { claimName, discard, discardFailed, sweepAbandoned } from "../pool/claims.ts";
import { HOST_STATE, TEMPLATES } from "../paths.ts";
import { requirePool } from "../pool/find-pool.ts";
import { createSubvolume, setReadOnly } from "../pool/subvolumes.ts";
import type { Report } from "../report/report.ts";
import { FORBIDDEN } from "./contents.ts";
import type { Definition } from "./definition.ts";
import { digestTree } from "./digest.ts";
import { explainFailure, fillRootfs, SCRATCH } from "./fill-rootfs.ts";
import { offerToLxc } from "./lxc-name.ts";
import {
  listVersions,
  lockTemplate,
  type Manifest,
  templateFolder,
  type TemplateVersion,
  versionFolder,
} from "./manifest.ts";
import { aptSources, type Mirrors } from "./mirror.ts";
import { findWhole, pruneVersions } from "./versions.ts";

/** How a template is built. */
export interface BuildOptions extends Mirrors {
  /** One of the definition's suites; the first unless given. */
  readonly suite?: string;
  /** Clamps every time stamp in the template (reproducible-builds.org); now unless given. */
  readonly sourceDateEpoch?: number;
  /** How many versions may stay, the new one among them; all unless given. */
  readonly keep?: number;
}

/** What a build made, and the old versions that gave way to it. */
interface Built {
  readonly manifest: Manifest;
  readonly pruned: readonly string[];
}

// below this a build cannot end well, and would only fill the pool
const SPACE_NEEDED = 400 * 2 ** 20;

/**
 * Builds a new version of a template and makes it the current one in one
 * step. A build that fails or is cut off leaves no trace: what a killed one
 * left is removed by the next.
 * @throws {UserError} when the definition has no such suite, the mirror does
 *   not answer, a command in the template fails, or the pool is full
 */
export async function buildTemplate(
  host: Host,
  definition: Definition,
  options: BuildOptions,
  report: Report,
): Promise<Built> {
  await requirePool(host);
  const suite = chooseSuite(definition, options.suite);
  const { lines: sources, lacksSecurity } = await aptSources(host, options, suite, definition.source);
  if (lacksSecurity) {
    const text = `${definition.name} is built without security updates: this host's apt has none; [templates] security_mirror names an archive`;
    report({ kind: "warn", text });
  }
  await requireSpace(host, definition.name);
  const release = await lockTemplate(host, definition.name, "build");
  try {
    const manifest = await buildVersion(host, definition, { ...options, suite }, sources, report);
    await offer(host, definition.name, report);
    const pruned = options.keep === undefined ? [] : await prune(host, definition.name, options.keep, report);
    return { manifest, pruned };
  } finally {
    await release();
  }
}

async function buildVersion(
  host: Host,
  definition: Definition,
  { suite, sourceDateEpoch }: BuildOptions & { suite: string },
  sources: readonly string[],
  report: Report,
): Promise<Manifest> {
  const folder = templateFolder(definition.name);
  await host.makeDirectory(join(folder, "versions"), { mode: 0o700 });
  for (const name of await sweepAbandoned(host, folder)) {
    report({ kind: "say", text: `removed ${name}, which a build that was cut off had left` });
  }
  await sweepAbandoned(host, SCRATCH);
  const started = Date.now();
  const epoch = sourceDateEpoch ?? Math.floor(started / 1000);
  const stamp = timeStamp(epoch);
  const work = join(folder, await claimName(host, "new", stamp));
  const scratch = join(SCRATCH, await claimName(host, "new", definition.name));
  try {
    await host.makeDirectory(join(work, "config"), { mode: 0o700 });
    await createSubvolume(host, join(work, "rootfs"));
    await fillRootfs(
      host,
      { definition, suite, version: stamp, sources, epoch, scratch, rootfs: join(work, "rootfs") },
      report,
    );
    await refuseSecrets(host, join(work, "rootfs"));
    report({ kind: "progress", task: `building ${definition.name}`, fraction: 0.93, detail: "sealing" });
    // on the disk before it is anybody's current version
    await host.run(["btrfs", "filesystem", "sync", join(work, "rootfs")]);
    await setReadOnly(host, join(work, "rootfs"), true);
    const content = await digestTree(host, join(work, "rootfs"));
    const same = await findWhole(host, definition.name, content.digest);
    if (same) {
      report({ kind: "say", text: `this is version ${same.version} again, bit by bit` });
      await discard(host, work);
      await replaceCurrent(host, folder, same.version);
      return same;
    }
    const version = freeVersion(await listVersions(host, definition.name), stamp);
    const manifest: Manifest = {
      schema: 1,
      name: definition.name,
      version,
      suite,
      digest: content.digest,
      definition: definition.digest,
      sourceDateEpoch: epoch,
      builtAt: new Date(started).toISOString(),
      buildSeconds: Math.round((Date.now() - started) / 100) / 10,
      bytes: content.bytes,
      packages: await listPackages(host, join(work, "rootfs")),
    };
    await host.writeText(join(work, "manifest.json"), `${JSON.stringify(manifest, null, 2)}\n`, { mode: 0o600 });
    await host.rename(work, versionFolder(definition.name, version));
    await replaceCurrent(host, folder, version);
    return manifest;
  } catch (error) {
    const told = await discardFailed(host, work, explainFailure(error, definition, sources));
    const isEmpty = (await host.list(join(folder, "versions")))?.length === 0;
    // what is left beside it must not be lost from sight
    if (isEmpty && (await host.list(folder))?.length === 1) await host.remove(folder);
    throw told;
  } finally {
    await host.remove(scratch);
  }
}

// the new version is built and current, whatever becomes of this
async function offer(host: Host, name: string, report: Report): Promise<void> {
  try {
    await offerToLxc(host, name);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    report({ kind: "warn", text: `lxc-create will not find ${name} by its name: ${error.message}` });
  }
}

// and of the old ones
async function prune(host: Host, name: string, keep: number, report: Report): Promise<readonly string[]> {
  try {
    return await pruneVersions(host, name, keep);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    report({ kind: "warn", text: `an old version of ${name} could not be removed: ${error.message}` });
    return [];
  }
}

function chooseSuite(definition: Definition, wanted: string | undefined): string {
  const { suites } = definition.source;
  const suite = wanted ?? suites[0];
  if (suite !== undefined && suites.includes(suite)) return suite;
  throw new UserError(`The template ${definition.name} cannot be built from ${JSON.stringify(wanted)}`, {
    hint: `its suites are ${suites.join(", ")}, see ${definition.file}`,
    exitCode: EXIT.usage,
  });
}

async function requireSpace(host: HostView, name: string): Promise<void> {
  for (const path of [TEMPLATES, dirname(HOST_STATE)]) {
    const { free } = await host.space(path);
    if (free >= SPACE_NEEDED) continue;
    throw new UserError(`Unable to build ${name}: only ${Math.floor(free / 2 ** 20)} MiB are free at ${path}`, {
      hint: `op-dbus status   # shows what fills the pool; a build needs ${SPACE_NEEDED / 2 ** 20} MiB`,
    });
  }
}

function timeStamp(epoch: number): string {
  return new Date(epoch * 1000).toISOString().replaceAll(/[-:]|\.\d+/g, "");
}

/** A version's name is the time stamp it carries: `20261123T190000Z`, with a number after it, one above those there. */
function freeVersion(versions: readonly TemplateVersion[], stamp: string): string {
  const numbers = versions
    .filter(({ version }) => version === stamp || version.startsWith(`${stamp}.`))
    .map(({ version }) => Number(version.slice(stamp.length + 1) || 1));
  return numbers.length === 0 ? stamp : `${stamp}.${Math.max(...numbers) + 1}`;
}

async function replaceCurrent(host: Host, folder: string, version: string): Promise<void> {
  await host.replaceLink(`versions/${version}/rootfs`, join(folder, "rootfs"));
}

/** @throws {UserError} when the tree holds a secret, an identity, or a device that no container may have */
async function refuseSecrets(host: Host, rootfs: string): Promise<void> {
  // a build is root of its own namespace and writes the stream that we unpack: it could name the host's disk
  const devices = await host.run(["find", rootfs, "-xdev", "(", "-type", "b", "-o", "-type", "c", ")"]);
  if (devices.stdout !== "") {
    throw new UserError(`The template holds devices: ${devices.stdout.trim().split("\n").slice(0, 3).join(", ")}`, {
      hint: "remove what makes them from the definition",
    });
  }
  for (const { path, what } of FORBIDDEN) {
    if ((await host.stat(`${rootfs}${path}`)) === undefined) continue;
    throw new UserError(`The template holds ${what} (${path}), which every clone would share`, {
      hint: "remove it with a command at the end of the definition",
    });
  }
}

async function listPackages(host: HostView, rootfs: string): Promise<Record<string, string>> {
  const listed = await host.probe([
    "dpkg-query",
    "--show",
    `--admindir=${rootfs}/var/lib/dpkg`,
    "--showformat=${Package} ${Version}\\n",
  ]);
  return Object.fromEntries(
    listed.stdout
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => line.split(" ") as [string, string]),
  );
}
