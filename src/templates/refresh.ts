import { messageOf } from "../host/errors.ts";
import type { Host, HostView } from "../host/host.ts";
import { publicAddress } from "../host/public-address.ts";
import type { Report } from "../report/report.ts";
import { buildKnown, buildTemplate, type BuildOptions } from "./build.ts";
import {
  type ArchiveDefinition,
  type Definition,
  hasOwnDefinition,
  isArchive,
  listDefinitions,
  readDefinition,
} from "./definition.ts";
import { currentVersion, type Manifest, readManifest } from "./manifest.ts";

/** What became of a template. */
export interface Refreshed {
  readonly name: string;
  readonly result: "rebuilt" | "unchanged" | "left alone";
  /** The current version, if there is one. */
  readonly version?: string;
  /** Why it was left alone. */
  readonly reason?: string;
  /** Old versions that gave way to it. */
  readonly pruned?: readonly string[];
}

/** Whether a template is the program's own, and how it was made; or why it is not to be touched. */
export type Refreshable =
  | { readonly definition: Definition; readonly manifest: Manifest }
  | { readonly reason: string };

/** Looks whether `refreshTemplate` would rebuild a template: it must be the program's own, and not the admin's. */
export async function findRefreshable(host: HostView, name: string): Promise<Refreshable> {
  const version = await currentVersion(host, name);
  if (version === undefined) return { reason: "it has no current version" };
  const manifest = await readManifest(host, name, version).catch((error: unknown) => messageOf(error));
  if (typeof manifest === "string") return { reason: manifest };
  const { origin } = manifest;
  if (origin?.type === "import") return { reason: `it was imported from ${origin.file}` };
  if (origin?.type === "container") return { reason: `it was published from the container ${origin.container}` };
  if (await hasOwnDefinition(host, name)) return { reason: "its definition is your own" };
  if (!(await listDefinitions(host)).includes(name)) return { reason: "no definition of it comes with the program" };
  return { definition: await readDefinition(host, name), manifest };
}

/** The archive that it was made from is the one that was trusted, where the definition names that and no other. */
function trusted(wanted: ArchiveDefinition["source"], origin: { url: string; sha256: string }): { sha256?: string } {
  // of an address with a part that is not kept nobody knows whether it is the same
  const isSame = wanted.url === origin.url && publicAddress(wanted.url) === wanted.url;
  return wanted.sha256 === undefined && isSame ? { sha256: origin.sha256 } : {};
}

/**
 * Builds a template of the program anew. What comes out the same, bit by bit,
 * stays the version that it is.
 */
export async function refreshTemplate(
  host: Host,
  { definition, manifest }: Extract<Refreshable, { definition: Definition }>,
  options: BuildOptions,
  report: Report,
): Promise<Refreshed> {
  const { name } = definition;
  const { origin, suite, sourceDateEpoch } = manifest;
  const isOffered = !isArchive(definition) && suite !== undefined && definition.source.suites.includes(suite);
  const request = {
    ...options,
    ...(isOffered ? { suite } : {}),
    ...(origin?.type === "archive" && isArchive(definition) ? trusted(definition.source, origin) : {}),
  };
  // first with the time stamp of the one that is there: only then can it come out the same
  if (manifest.definition === definition.digest && sourceDateEpoch !== undefined) {
    const same = await buildKnown(host, definition, { ...request, sourceDateEpoch }, report);
    if (same !== undefined) return { name, result: "unchanged", version: same.version };
  }
  const built = await buildTemplate(host, definition, request, report);
  return { name, result: "rebuilt", version: built.manifest.version, pruned: built.pruned };
}
