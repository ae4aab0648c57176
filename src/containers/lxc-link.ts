import { join } from "node:path";
import { UserError } from "../host/errors.ts";
import type { Host, HostView } from "../host/host.ts";
import { containerFolder } from "./record.ts";

/** Where LXC looks for containers; ours are links into the pool. */
export const LXC_PATH = "/var/lib/lxc";

/** Where LXC finds a container. */
export function lxcLink(name: string): string {
  return join(LXC_PATH, name);
}

/** Whether LXC finds our container under its name; a destroy that was cut off can leave such a link behind. */
export async function isLinked(host: HostView, name: string): Promise<boolean> {
  return (await host.readLink(lxcLink(name))) === containerFolder(name);
}

/** @throws {UserError} when LXC knows a container of this name that is not ours */
export async function refuseForeign(host: HostView, name: string): Promise<void> {
  if ((await host.stat(lxcLink(name))) === undefined || (await isLinked(host, name))) return;
  throw new UserError(`LXC has a container ${name} already that is not ours (${lxcLink(name)})`, {
    hint: `lxc-info -n ${name}`,
  });
}

/**
 * Makes LXC's own commands find a container of ours; nothing to do where they do.
 * @throws {UserError} when another container of LXC has the name
 */
export async function linkForLxc(host: Host, name: string): Promise<void> {
  if (await isLinked(host, name)) return;
  await refuseForeign(host, name);
  // Debian's package makes the folder; an admin who tidied up may have removed it when it was empty
  if ((await host.stat(LXC_PATH)) === undefined) await host.makeDirectory(LXC_PATH, { mode: 0o755 });
  await host.makeLink(containerFolder(name), lxcLink(name));
}

/** Hides a container from LXC; nothing to do where it does not know it. */
export async function unlinkFromLxc(host: Host, name: string): Promise<void> {
  if (await isLinked(host, name)) await host.remove(lxcLink(name));
}
