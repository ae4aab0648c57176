import { join } from "node:path";
import { TEMPLATE_NAME } from "../config/names.ts";
import {
  exactly,
  isNumber,
  isTable,
  isText,
  orNothing,
  readWritten,
  type Shape,
  tableOf,
} from "../config/written-json.ts";
import { EXIT, UserError } from "../host/errors.ts";
import type { Host, HostView } from "../host/host.ts";
import { RUNTIME, TEMPLATES } from "../paths.ts";
import { isReadOnly } from "../pool/subvolumes.ts";

/** Where a version came from, when it was not built from packages. */
export type Origin =
  /** The address without what may be a secret in it. */
  | { readonly type: "archive"; readonly url: string; readonly sha256: string }
  /** `claims` is what the tree says of itself: an export of ours keeps its name and version. */
  | {
      readonly type: "import";
      readonly file: string;
      readonly sha256: string;
      readonly claims?: { readonly name: string; readonly version: string };
    }
  | { readonly type: "container"; readonly container: string; readonly template?: string };

/** What is known of a sealed version of a template; manifest.json beside its root file system. */
export interface Manifest {
  readonly schema: 1;
  readonly name: string;
  readonly version: string;
  /** Of one that was built from packages. */
  readonly suite?: string;
  /** Hex SHA-256 of the content, see `digestTree`. */
  readonly digest: string;
  /** Hex SHA-256 of the definition it was built from, if it was. */
  readonly definition?: string;
  readonly sourceDateEpoch?: number;
  /** Of one that was not built from packages. */
  readonly origin?: Origin;
  /** When it was made here; ISO 8601, UTC. */
  readonly builtAt: string;
  readonly buildSeconds: number;
  /** Size of all files together, before compression. */
  readonly bytes: number;
  /** Package name to version. */
  readonly packages: Readonly<Record<string, string>>;
}

const SHAPE: Shape<Manifest> = {
  schema: exactly(1),
  name: isText,
  version: isText,
  suite: orNothing(isText),
  digest: isText,
  definition: orNothing(isText),
  sourceDateEpoch: orNothing(isNumber),
  origin: orNothing(isTable),
  builtAt: isText,
  buildSeconds: isNumber,
  bytes: isNumber,
  packages: tableOf(isText),
};

/** A sealed version of a template. */
export interface TemplateVersion {
  readonly version: string;
  readonly current: boolean;
  /** Undefined when the manifest cannot be read. */
  readonly manifest: Manifest | undefined;
}

/** Folder of a template; `rootfs` in it is a link to the current version's. */
export function templateFolder(name: string): string {
  return join(TEMPLATES, name);
}

/** Folder of one version: its sealed `rootfs`, `manifest.json`, and `config/`. */
export function versionFolder(name: string, version: string): string {
  return join(templateFolder(name), "versions", version);
}

/**
 * Holds a template against other builds and removals until the returned function is called.
 * @throws {UserError} with exit code 6, naming who is at it
 */
export async function lockTemplate(host: Host, name: string, work: string): Promise<() => Promise<void>> {
  const holder = `template ${work} ${name}, process ${process.pid}, since ${new Date().toISOString()}`;
  return host.lock(`${RUNTIME}/template-${name}.lock`, holder);
}

/** Names of the templates of which there is a version, current or not. */
export async function listTemplates(host: HostView): Promise<string[]> {
  const names: string[] = [];
  for (const name of (await host.list(TEMPLATES)) ?? []) {
    const versions = TEMPLATE_NAME.test(name) ? await host.list(join(templateFolder(name), "versions")) : [];
    if (versions !== undefined && versions.length > 0) names.push(name);
  }
  return names;
}

/** The version that new containers are cloned from; undefined when nothing is built. */
export async function currentVersion(host: HostView, name: string): Promise<string | undefined> {
  const target = await host.readLink(join(templateFolder(name), "rootfs"));
  const version = /^versions\/([^/]+)\/rootfs$/.exec(target ?? "")?.[1];
  if (version === undefined) return undefined;
  return (await host.stat(join(versionFolder(name, version), "rootfs"))) === undefined ? undefined : version;
}

/** Makes a version the one that new containers are cloned from, in one step. */
export async function makeCurrent(host: Host, name: string, version: string): Promise<void> {
  await host.replaceLink(`versions/${version}/rootfs`, join(templateFolder(name), "rootfs"));
}

/** All versions of a template, oldest first. */
export async function listVersions(host: HostView, name: string): Promise<TemplateVersion[]> {
  const current = await currentVersion(host, name);
  const versions: TemplateVersion[] = [];
  for (const version of (await host.list(join(templateFolder(name), "versions"))) ?? []) {
    const manifest = await readManifest(host, name, version).catch(() => undefined);
    versions.push({ version, current: version === current, manifest });
  }
  // a name is the time stamp that the content carries (SOURCE_DATE_EPOCH), which says nothing about when it was built
  return versions.toSorted((one, other) => builtAt(one).localeCompare(builtAt(other)));
}

function builtAt({ manifest }: TemplateVersion): string {
  return manifest?.builtAt ?? "";
}

/** @throws {UserError} when the version does not exist or its manifest is broken */
export async function readManifest(host: HostView, name: string, version: string): Promise<Manifest> {
  const path = join(versionFolder(name, version), "manifest.json");
  const text = await host.readText(path);
  const manifest = readWritten(text, SHAPE);
  if (manifest?.name === name) return manifest;
  throw new UserError(
    `Unable to read the manifest of ${name} ${version}: ${path} is ${text === undefined ? "missing" : "broken"}`,
    { hint: `op-dbus template remove ${name} --template-version ${version}   # after a look at ${path}` },
  );
}

/**
 * The version to work with.
 * @throws {UserError} when the template, or that version of it, was not built
 */
export async function requireVersion(host: HostView, name: string, version?: string): Promise<string> {
  const found = version ?? (await currentVersion(host, name));
  if (found !== undefined && (await host.stat(join(versionFolder(name, found), "rootfs"))) !== undefined) return found;
  throw await notBuilt(host, name, version);
}

/** @throws {UserError} with exit code 5 when a version is not read-only any more: somebody may have changed it */
export async function requireSealed(host: HostView, name: string, version: string): Promise<void> {
  if (await isReadOnly(host, join(versionFolder(name, version), "rootfs"))) return;
  throw new UserError(`${name} ${version} is not sealed (read-only) any more`, {
    hint: `op-dbus template verify ${name} --template-version ${version}   # is it still what was built?`,
    exitCode: EXIT.unverified,
  });
}

/** @throws {UserError} when there is nothing of a template, or of that version; what is there need not be whole */
export async function requireTemplate(host: HostView, name: string, version?: string): Promise<void> {
  const path = version === undefined ? templateFolder(name) : versionFolder(name, version);
  if ((await host.stat(path)) === undefined) throw await notBuilt(host, name, version);
}

async function notBuilt(host: HostView, name: string, version: string | undefined): Promise<UserError> {
  const there = await listTemplates(host);
  const which = version === undefined ? name : `${name} in version ${version}`;
  const uncurrent = version === undefined && there.includes(name);
  if (uncurrent) {
    const versions = (await host.list(join(templateFolder(name), "versions"))) ?? [];
    return new UserError(`The template ${name} has no current version`, {
      hint: `op-dbus template use ${name} ${versions.at(-1)}   # it has: ${versions.join(", ")}`,
      exitCode: EXIT.unsupported,
    });
  }
  const isThere = version !== undefined && there.includes(name);
  return new UserError(`There is no template ${which} on this host`, {
    hint: isThere
      ? `op-dbus template show ${name}   # lists its versions`
      : `op-dbus template build ${name}   # on this host: ${there.join(", ") || "none"}`,
    exitCode: EXIT.unsupported,
  });
}
