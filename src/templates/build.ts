import { dirname } from "node:path";
import { UserError } from "../host/errors.ts";
import type { Host, HostView } from "../host/host.ts";
import { publicAddress } from "../host/public-address.ts";
import { HOST_STATE, TEMPLATES } from "../paths.ts";
import { requirePool } from "../pool/find-pool.ts";
import { createSubvolume } from "../pool/subvolumes.ts";
import type { Report } from "../report/report.ts";
import { addVersion, type Facts, type NewVersion, timeStamp } from "./add-version.ts";
import { type Definition, isArchive } from "./definition.ts";
import { fillFromArchive, forgetArchive } from "./fill-from-archive.ts";
import { explainFailure, type Fill, fillRootfs } from "./fill-rootfs.ts";
import { lockTemplate, type Manifest } from "./manifest.ts";
import { inScratch } from "./scratch.ts";
import { findSource, type Source, type SourceOptions } from "./source.ts";
import { pruneBuilt } from "./versions.ts";

/** How a template is built. */
export interface BuildOptions extends SourceOptions {
  /** Clamps every time stamp in the template (reproducible-builds.org); now unless given. */
  readonly sourceDateEpoch?: number;
  /** How many versions that were built may stay, the new one among them; all unless given. */
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
  return locked(host, definition, options, report, async (wanted) => {
    const manifest = await addVersion(host, wanted, report);
    if (isArchive(definition)) await forgetArchive(host, definition.name);
    const pruned = options.keep === undefined ? [] : await prune(host, definition.name, options.keep, report);
    return { manifest, pruned };
  });
}

/**
 * Builds a template, and keeps the result only when it is a version that is there already.
 * @returns undefined when it was not, and is gone
 */
export async function buildKnown(
  host: Host,
  definition: Definition,
  options: BuildOptions,
  report: Report,
): Promise<Manifest | undefined> {
  return locked(host, definition, options, report, async (wanted) => {
    const known = await addVersion(host, { ...wanted, onlyKnown: true }, report);
    // what was not known will be built once more
    if (isArchive(definition) && known !== undefined) await forgetArchive(host, definition.name);
    return known;
  });
}

async function locked<Result>(
  host: Host,
  definition: Definition,
  options: BuildOptions,
  report: Report,
  add: (wanted: NewVersion & { onlyKnown?: false }) => Promise<Result>,
): Promise<Result> {
  const { name } = definition;
  await requirePool(host);
  const source = await findSource(host, definition, options);
  if (source.type === "packages" && source.lacksSecurity) {
    const text = `${name} is built without security updates: this host's apt has none to take over; [templates] security_mirror names an archive`;
    report({ kind: "warn", text });
  }
  await requireSpace(host, name);
  const release = await lockTemplate(host, name, "build");
  try {
    return await inScratch(host, name, async (scratch) => {
      const epoch = options.sourceDateEpoch ?? Math.floor(Date.now() / 1000);
      const fill = async (rootfs: string, version: string): Promise<Facts> => {
        await createSubvolume(host, rootfs);
        const facts = await fillFrom(host, definition, source, { version, epoch, scratch, rootfs }, report);
        return { ...facts, definition: definition.digest, sourceDateEpoch: epoch };
      };
      return await add({ name, stamp: timeStamp(epoch), task: `building ${name}`, fill });
    });
  } catch (error) {
    throw explainFailure(error, definition, source);
  } finally {
    await release();
  }
}

async function fillFrom(
  host: Host,
  definition: Definition,
  source: Source,
  to: Omit<Fill<never, never>, "definition" | "source">,
  report: Report,
): Promise<Facts> {
  if (isArchive(definition) && source.type === "archive") {
    await fillFromArchive(host, { definition, source, ...to }, report);
    return { origin: { ...source, url: publicAddress(source.url) } };
  }
  if (isArchive(definition) || source.type === "archive") throw new Error("a definition and a source of two kinds");
  await fillRootfs(host, { definition, source, ...to }, report);
  return { suite: source.suite };
}

// the new version is built and current, whatever becomes of the old ones
async function prune(host: Host, name: string, keep: number, report: Report): Promise<readonly string[]> {
  try {
    return await pruneBuilt(host, name, keep);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    report({ kind: "warn", text: `an old version of ${name} could not be removed: ${error.message}` });
    return [];
  }
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
