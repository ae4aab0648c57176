import { join } from "node:path";
import type { HostView } from "../host/host.ts";
import { listTemplates, listVersions, type TemplateVersion, versionFolder } from "./manifest.ts";

/** What there is of a template on this node. */
export interface TemplateSummary {
  readonly name: string;
  /** Oldest first. */
  readonly versions: readonly TemplateVersion[];
  /** The one that new containers are cloned from. */
  readonly current: TemplateVersion | undefined;
  /** Why it cannot be used, or nothing is known of it. */
  readonly broken?: { readonly what: string; readonly mend: string };
}

/** All templates of the pool, by name; one that is broken does not hide the others. */
export async function describeTemplates(host: HostView): Promise<TemplateSummary[]> {
  const found: TemplateSummary[] = [];
  for (const name of await listTemplates(host)) {
    const versions = await listVersions(host, name);
    const current = versions.find((version) => version.current);
    const what = findFault(name, current);
    const mend = `op-dbus template build ${name}   # or: op-dbus template remove ${name}`;
    found.push({ name, versions, current, ...(what === undefined ? {} : { broken: { what, mend } }) });
  }
  return found;
}

function findFault(name: string, current: TemplateVersion | undefined): string | undefined {
  if (current === undefined) return `the template ${name} has no current version`;
  if (current.manifest !== undefined) return undefined;
  return `${join(versionFolder(name, current.version), "manifest.json")} is missing or broken`;
}
