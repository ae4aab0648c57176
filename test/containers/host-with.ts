import { createContainer, prepareCreate } from "../../src/containers/create.ts";
import type { MemoryHost } from "../memory-host.ts";
import { installedHost } from "../installed-host.ts";

/** An installed host in memory with these containers, whose making is forgotten. */
export async function hostWith(...names: string[]): Promise<MemoryHost> {
  const host = installedHost();
  const prepared = await prepareCreate(host, {
    template: "debian-base",
    network: "none",
    cores: 1,
    memoryMiB: 64,
    swapMiB: 0,
    sshKeys: ["ssh-ed25519 AAAA"],
    limits: "enforce",
  });
  for (const name of names) await createContainer(host, name, prepared);
  host.forget();
  return host;
}
