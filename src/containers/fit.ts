import { join } from "node:path";
import { ID_RANGE_SIZE } from "../config/limits.ts";
import type { HostView } from "../host/host.ts";
import { areRootsIds, findIdRange, mappedIds } from "./id-range.ts";
import { lxcLink } from "./lxc-link.ts";
import { containerFolder } from "./record.ts";

/** What of a container does not fit this host, and the command that mends it. */
interface Misfit {
  readonly what: string;
  readonly mend: string;
}

/** What does not fit of a container that came here on a disk from another host. */
export async function findMisfits(host: HostView, name: string): Promise<Misfit[]> {
  const foreign = await findForeignIds(host, name);
  if (foreign !== undefined) return [foreign];
  if ((await host.stat(lxcLink(name))) !== undefined) return [];
  const what = `LXC does not know the container ${name}: ${lxcLink(name)} is missing`;
  return [
    { what, mend: `op-dbus container start ${name}   # makes it; or: ln -s ${containerFolder(name)} ${lxcLink(name)}` },
  ];
}

/** A user of this host whose ids a container has could act as its root. What an admin maps beside root is his affair. */
export async function findForeignIds(host: HostView, name: string): Promise<Misfit | undefined> {
  const config = join(containerFolder(name), "config");
  let start: number | undefined;
  for (const ids of mappedIds((await host.readText(config)) ?? "").filter(({ inside }) => inside === 0)) {
    if (!(await areRootsIds(host, ids.start, ids.size))) start ??= ids.start;
  }
  if (start === undefined) return undefined;
  const range = await findIdRange(host);
  const what = `${name} would run with the ids from ${start}, which are not root's alone on this host`;
  if (range === undefined) return { what, mend: "opdbus-pve install" };
  const right = `s/^lxc.idmap = \\([ug]\\) 0 ${start} .*/lxc.idmap = \\1 0 ${range} ${ID_RANGE_SIZE}/`;
  return { what, mend: `sed -i '${right}' ${config}` };
}
