import { join } from "node:path";
import type { HostView } from "../host/host.ts";
import { listTemplates, listVersions, type Manifest, versionFolder } from "./manifest.ts";

/** What there is of a template on this node; of its current version also what its manifest says. */
export interface TemplateSummary extends Partial<Pick<Manifest, "suite" | "digest" | "builtAt" | "bytes">> {
  readonly name: string;
  /** The version that new containers are cloned from. */
  readonly current: string | null;
  /** Oldest first. */
  readonly versions: readonly string[];
  /** Why it cannot be used, or nothing is known of it, and what mends that. */
  readonly broken?: string;
  readonly mend?: string;
}

/** All templates of the pool, by name; one that is broken does not hide the others. */
export async function describeTemplates(host: HostView): Promise<TemplateSummary[]> {
  const names = await listTemplates(host);
  return Promise.all(names.map((name) => describeTemplate(host, name)));
}

async function describeTemplate(host: HostView, name: string): Promise<TemplateSummary> {
  const versions = await listVersions(host, name);
  const current = versions.find((version) => version.current);
  const facts = { name, current: current?.version ?? null, versions: versions.map(({ version }) => version) };
  if (current?.manifest !== undefined) {
    const { suite, digest, builtAt, bytes } = current.manifest;
    return { ...facts, ...(suite && { suite }), digest, builtAt, bytes };
  }
  const broken =
    current === undefined
      ? `the template ${name} has no current version`
      : `${join(versionFolder(name, current.version), "manifest.json")} is missing or broken`;
  return { ...facts, broken, mend: `op-dbus template build ${name}   # or: op-dbus template remove ${name}` };
}
