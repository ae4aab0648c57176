import { join } from "node:path";
import type { Host } from "../host/host.ts";

/** Where lxc-create looks for the script of a template. */
const LXC_TEMPLATES = "/usr/share/lxc/templates";
/** The script that the installation puts there; it does for every name that it is called by. */
const SCRIPT = "lxc-debian-base";

/** Lets lxc-create find a template by its name, unless another has the name. */
export async function offerToLxc(host: Host, name: string): Promise<void> {
  const script = `lxc-${name}`;
  const taken = (await host.list(LXC_TEMPLATES))?.includes(script) ?? true;
  if (!taken && script !== SCRIPT) await host.makeLink(SCRIPT, join(LXC_TEMPLATES, script));
}

/** Hides a template from lxc-create, if it was offered. */
export async function hideFromLxc(host: Host, name: string): Promise<void> {
  const path = join(LXC_TEMPLATES, `lxc-${name}`);
  if ((await host.readLink(path)) === SCRIPT) await host.remove(path);
}
