import { dirname, join } from "node:path";
import { EXIT, UserError } from "../host/errors.ts";
import type { Host, HostView } from "../host/host.ts";
import { claimName, sweepAbandoned } from "../pool/claims.ts";
import { HOST_STATE, TEMPLATES } from "../paths.ts";
import { requirePool } from "../pool/find-pool.ts";
import { createSubvolume } from "../pool/subvolumes.ts";
import type { Report } from "../report/report.ts";
import { addVersion, timeStamp } from "./add-version.ts";
import type { Definition } from "./definition.ts";
import { explainFailure, fillRootfs, SCRATCH } from "./fill-rootfs.ts";
import { lockTemplate, type Manifest } from "./manifest.ts";
import { aptSources, type Mirrors } from "./mirror.ts";
import { pruneVersions } from "./versions.ts";

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
  await sweepAbandoned(host, SCRATCH);
  const epoch = sourceDateEpoch ?? Math.floor(Date.now() / 1000);
  const scratch = join(SCRATCH, await claimName(host, "new", definition.name));
  const fill = async (rootfs: string, version: string) => {
    await createSubvolume(host, rootfs);
    await fillRootfs(host, { definition, suite, version, sources, epoch, scratch, rootfs }, report);
    return { suite, definition: definition.digest, sourceDateEpoch: epoch };
  };
  try {
    const task = `building ${definition.name}`;
    return await addVersion(host, { name: definition.name, stamp: timeStamp(epoch), task, fill }, report);
  } catch (error) {
    throw explainFailure(error, definition, sources);
  } finally {
    await host.remove(scratch);
  }
}

// the new version is built and current, whatever becomes of the old ones
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
