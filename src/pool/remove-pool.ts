import { shellText } from "../host/command-failed.ts";
import type { Host, HostView } from "../host/host.ts";
import { CONTAINERS, IMAGE_GOING, POOL, POOL_IMAGE, POOL_MOUNT_UNIT, POOL_MOUNT_UNIT_FILE, SOCKETS } from "../paths.ts";
import { findPool, findPoolAway, GIVE_UP, isRemovalBegun, MOUNT, mountsImage } from "./find-pool.ts";
import { SUBVOLUMES } from "./layout.ts";
import { listMounts, mountAt, refuseMountsIn } from "../host/mounts.ts";
import { asSize } from "./plan-pool.ts";
import { deleteSubvolume, isSubvolume } from "./subvolumes.ts";

/** What the removal of the pool takes with it, or why it must not be removed. */
export type PoolRemoval =
  | { readonly state: "ok" }
  | {
      readonly state: "change";
      readonly changes: readonly [string, ...string[]];
      /** What stays where the pool was. */
      readonly stays: readonly string[];
    }
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
  const unseen = (await isRemovalBegun(host)) ? undefined : await findUnseen(host);
  if (unseen !== undefined) return unseen;
  const container = ((await host.list(CONTAINERS)) ?? []).find((name) => !name.startsWith("."));
  if (container !== undefined && !containersGo) {
    const hint = shellText(["op-dbus", "container", "destroy", container]);
    return { state: "blocked", reason: `the container ${container} is in the pool`, hint };
  }
  const foreign = await findForeign(host);
  if (foreign !== undefined) {
    const hint = `mv ${shellText([foreign])} /root/   # or remove it, then try again`;
    return { state: "blocked", reason: `the pool holds what is not of this program: ${foreign}`, hint };
  }
  await refuseMountsIn(host, POOL);
  const { changes, stays } = await listRemains(host);
  const [first, ...rest] = changes;
  return first === undefined ? { state: "ok" } : { state: "change", changes: [first, ...rest], stays };
}

/** What cannot be seen may be somebody's: a pool that is not mounted, or a file of one that its unit does not mount. */
async function findUnseen(host: HostView): Promise<Extract<PoolRemoval, { state: "blocked" }> | undefined> {
  const away = await findPoolAway(host);
  if (away !== undefined) {
    const reason = `nobody can see what is in the pool: ${away.reason}`;
    const hint = away.hint === MOUNT ? `${MOUNT}\n${GIVE_UP}   # gives it up, as it is` : away.hint;
    return { state: "blocked", reason, hint };
  }
  const image = await host.stat(POOL_IMAGE);
  if (image === undefined || mountsImage(await host.readText(POOL_MOUNT_UNIT_FILE))) return undefined;
  const reason = `nobody can see what is in ${POOL_IMAGE}: it is not mounted by ${POOL_MOUNT_UNIT}`;
  const install = `opdbus-pve install --pool-size ${asSize(image.size)}   # mounts it by that; then try again`;
  const look = `mount -o loop,ro ${POOL_IMAGE} /mnt   # shows what is in it; move it away, or remove it, and try again`;
  const mounted = mountAt(await listMounts(host), POOL);
  const byHand = mounted !== undefined && (await host.stat(POOL_MOUNT_UNIT_FILE)) === undefined;
  if (byHand && mounted.root === "/" && /^\/dev\/loop\d/.test(mounted.source)) {
    return { state: "blocked", reason, hint: `umount ${POOL} && ${install}` };
  }
  const isElsewhere = mounted !== undefined || isSubvolume(await host.stat(POOL));
  return { state: "blocked", reason, hint: isElsewhere ? look : install };
}

/** What a process leaves that is killed while it writes. */
const UNFINISHED = /^\.(new|gone)-\d+-\d+-|^\..+\.opdbus-\d+-/;

/** A disk that was used before may have subvolumes of the same names, for something else. */
async function findForeign(host: HostView): Promise<string | undefined> {
  for (const name of (await host.list(POOL)) ?? []) {
    const path = `${POOL}/${name}`;
    const subvolume = SUBVOLUMES.find((each) => each.name === name);
    if (subvolume === undefined && path !== SOCKETS) return path;
    const { content } = subvolume ?? {};
    if (content === undefined) continue;
    const inside = (await host.list(path)) ?? [];
    const other = inside.find((each) => !content.test(each) && !UNFINISHED.test(each));
    if (other !== undefined) return `${path}/${other}`;
  }
  return undefined;
}

async function listRemains(host: HostView): Promise<{ changes: string[]; stays: string[] }> {
  const inside = ((await host.list(POOL)) ?? []).length > 0;
  const mounted = mountAt(await listMounts(host), POOL);
  const unit = await host.readText(POOL_MOUNT_UNIT_FILE);
  const changes: string[] = [];
  const stays: string[] = [];
  if (inside) changes.push(`Delete all in ${POOL}: templates, plugins, state and the audit log`);
  if (unit !== undefined) {
    changes.push(`Unmount ${POOL}, now and for good (${POOL_MOUNT_UNIT})`);
    if (mounted !== undefined && !mountsImage(unit)) stays.push(`an empty BTRFS on ${mounted.source}`);
  }
  for (const file of [POOL_IMAGE, IMAGE_GOING]) {
    if ((await host.stat(file)) !== undefined) changes.push(`Delete ${file}`);
  }
  // what somebody else mounts there is his
  if ((mounted === undefined || unit !== undefined) && (await host.stat(POOL)) !== undefined)
    changes.push(`Remove the folder ${POOL}`);
  return { changes, stays };
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
    // stopped first: that is refused while somebody is in there, and then it must come back at the next boot
    await host.run(["systemctl", "stop", POOL_MOUNT_UNIT]);
    await host.run(["systemctl", "disable", "--quiet", POOL_MOUNT_UNIT]);
  }
  // before its unit goes: a file of a pool that nothing mounts, and that is not going, is somebody's
  if ((await host.stat(POOL_IMAGE)) !== undefined) await host.rename(POOL_IMAGE, IMAGE_GOING);
  if (unit !== undefined) {
    await host.remove(POOL_MOUNT_UNIT_FILE);
    await host.run(["systemctl", "daemon-reload"]);
    // systemd 252 remembers that it could not unmount it once, of a unit that is no more
    const { exitCode } = await host.probe(["systemctl", "is-failed", POOL_MOUNT_UNIT]);
    if (exitCode === 0) await host.run(["systemctl", "reset-failed", POOL_MOUNT_UNIT]);
  }
  await host.remove(IMAGE_GOING);
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
