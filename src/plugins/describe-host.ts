import type { HostView } from "../host/host.ts";
import { VERSION } from "../version.ts";

/** What kind of machine this is. */
export interface HostDescription {
  readonly name: string;
  /** As /etc/os-release calls it. */
  readonly system: string | null;
  readonly kernel: string | null;
  /** Version of Proxmox VE, such as `pve-manager/8.4.1/…`; null where there is none. */
  readonly proxmox: string | null;
  readonly opdbus: string;
}

/** Looks at what this machine is. */
export async function describeHost(host: HostView): Promise<HostDescription> {
  const release = (await host.readText("/etc/os-release")) ?? "";
  const kernel = await host.readText("/proc/sys/kernel/osrelease");
  const proxmox = (await host.stat("/usr/bin/pveversion")) === undefined ? undefined : await host.probe(["pveversion"]);
  return {
    name: host.name,
    system: /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(release)?.[1] ?? null,
    kernel: kernel?.trim() ?? null,
    proxmox: proxmox?.exitCode === 0 ? proxmox.stdout.trim() : null,
    opdbus: VERSION,
  };
}
