import { shellText } from "../host/command-failed.ts";
import type { Host, HostView } from "../host/host.ts";
import { CONTAINERS, POOL, POOL_IMAGE, POOL_MOUNT_UNIT, POOL_MOUNT_UNIT_FILE, SOCKETS } from "../paths.ts";
import { findPool, findPoolAway } from "./find-pool.ts";
import { SUBVOLUMES } from "./layout.ts";
import { listMounts, mountAt, refuseMountsIn } from "../host/mounts.ts";
import { deleteSubvolume, isSubvolume } from "./subvolumes.ts";

/** What the removal of the pool takes with it, or why it must not be removed. */
export type PoolRemoval =
  | { readonly state: "ok" }
  | { readonly state: "change"; readonly changes: readonly [string, ...string[]] }
  | { readonly state: "blocked"; readonly reason: string; readonly hint: string };

/**
 * Looks for what is left of the pool. What others have put into it, and
 * containers, keep it from being removed.
 * @param containersGo containers are to be destroyed before it
 */
export async function planRemoval(
  host: HostView,
  { containersGo }: { readonly containersGo: boolean },
): Promise<PoolRemoval> {
  const away = await findPoolAway(host);
  if (away !== undefined) {
    // what cannot be seen may be somebody's
    return { state: "blocked", reason: `nobody can see what is in the pool: ${away.reason}`, hint: away.hint };
  }
  const container = ((await host.list(CONTAINERS)) ?? []).find((name) => !name.startsWith("."));
  if (container !== undefined && !containersGo) {
    const hint = `op-dbus container destroy ${container}`;
    return { state: "blocked", reason: `the container ${container} is in the pool`, hint };
  }
  const foreign = await findForeign(host);
  if (foreign !== undefined) {
    const hint = `mv ${shellText([foreign])} /root/   # or remove it, then try again`;
    return { state: "blocked", reason: `the pool holds what is not of this program: ${foreign}`, hint };
  }
  await refuseMountsIn(host, POOL);
  const changes = await listRemains(host);
  const [first, ...rest] = changes;
  return first === undefined ? { state: "ok" } : { state: "change", changes: [first, ...rest] };
}

const OURS: ReadonlySet<string> = new Set([...SUBVOLUMES.map(({ name }) => `${POOL}/${name}`), SOCKETS]);

async function findForeign(host: HostView): Promise<string | undefined> {
  return ((await host.list(POOL)) ?? []).map((name) => `${POOL}/${name}`).find((path) => !OURS.has(path));
}

async function listRemains(host: HostView): Promise<string[]> {
  const inside = ((await host.list(POOL)) ?? []).length > 0;
  const mounted = mountAt(await listMounts(host), POOL);
  const image = await host.stat(POOL_IMAGE);
  const changes: string[] = [];
  if (inside) changes.push(`Delete all in ${POOL}: templates, plugins, state and the audit log`);
  if ((await host.stat(POOL_MOUNT_UNIT_FILE)) !== undefined) {
    const stays = image === undefined ? `; an empty BTRFS stays on ${mounted?.source ?? "its device"}` : "";
    changes.push(`Unmount ${POOL}, now and for good (${POOL_MOUNT_UNIT})${stays}`);
  }
  if (image !== undefined) changes.push(`Delete ${POOL_IMAGE}`);
  // what somebody else mounts there is his
  const ownPlace = mounted === undefined || (await host.stat(POOL_MOUNT_UNIT_FILE)) !== undefined;
  if (ownPlace && (await host.stat(POOL)) !== undefined) changes.push(`Remove the folder ${POOL}`);
  return changes;
}

/**
 * Removes the pool and what this program keeps in it. A disk is given back
 * with an empty BTRFS on it: it is never wiped.
 * @throws {UserError} when it is in use
 */
export async function removePool(host: Host): Promise<void> {
  const pool = await findPool(host, {});
  const unit = await host.stat(POOL_MOUNT_UNIT_FILE);
  // a file goes whole; elsewhere the file system stays, or is the host's own
  if (pool.state === "ready" && pool.kind !== "loop") await emptyPool(host);
  if (unit !== undefined) {
    await host.run(["systemctl", "disable", "--quiet", "--now", POOL_MOUNT_UNIT]);
    await host.remove(POOL_MOUNT_UNIT_FILE);
    await host.run(["systemctl", "daemon-reload"]);
  }
  await host.remove(POOL_IMAGE);
  if (mountAt(await listMounts(host), POOL) !== undefined) return;
  const place = await host.stat(POOL);
  if (isSubvolume(place)) return deleteSubvolume(host, POOL);
  if (place === undefined) return;
  // sealed where the file system can do that, so that nobody wrote below the mount point
  await host.run(["chattr", "-i", POOL]).catch(() => {});
  await host.run(["rmdir", "--", POOL]);
}

async function emptyPool(host: Host): Promise<void> {
  for (const { name } of SUBVOLUMES) await deleteSubvolume(host, `${POOL}/${name}`);
  await host.remove(SOCKETS);
}
