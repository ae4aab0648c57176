import type { Host, HostView } from "../../host/host.ts";
import { CONTAINERS, POOL, POOL_MOUNT_UNIT, POOL_MOUNT_UNIT_FILE, TEMPLATES } from "../../paths.ts";
import { LXC_PATH } from "../../containers/lxc-link.ts";
import { discard, findAbandoned } from "../../pool/claims.ts";
import { SUBVOLUMES } from "../../pool/layout.ts";
import { findPool } from "../../pool/find-pool.ts";
import { makePool } from "../../pool/make-pool.ts";
import type { PoolRecipe, PoolRequest } from "../../pool/plan-pool.ts";
import { planRemoval, removePool } from "../../pool/remove-pool.ts";
import { createSubvolume, isSubvolume } from "../../pool/subvolumes.ts";
import { SCRATCH } from "../../templates/scratch.ts";
import { changesNeeded, type Finding, OK, PART, type Step } from "../step.ts";

/** Step 2: the pool, its subvolumes, their compression and modes. */
export function subvolumesStep(request: PoolRequest): Step {
  return {
    id: PART.pool,
    title: "Create the BTRFS pool and its subvolumes",
    notYet: [],
    async check(host) {
      const pool = await findPool(host, request);
      if (pool.state === "blocked") return pool;
      if (pool.state === "ready") return checkReady(host);
      if (pool.make.kind === "mount") return changesNeeded(pool.changes);
      const names = SUBVOLUMES.map(({ name }) => name).join(", ");
      // what an older pool holds is seen when it is mounted
      const some = isFresh(pool.make) ? "" : ", as far as they are missing";
      return changesNeeded([...pool.changes, `Create the subvolumes ${names}${some}`]);
    },
    async apply(host, report) {
      const pool = await findPool(host, request);
      if (pool.state === "make") await makePool(host, pool.make, report);
      if (!(await comesBack(host))) await host.run(["systemctl", "enable", "--quiet", POOL_MOUNT_UNIT]);
      await makeSubvolumes(host);
      for (const path of await findLeftovers(host)) await discard(host, path);
    },
    removal: {
      check: async (host, degree, before) =>
        degree === "everything" ? planRemoval(host, { containersGo: before.has(PART.containers) }) : OK,
      apply: (host) => removePool(host),
    },
  };
}

function isFresh(make: PoolRecipe): boolean {
  return make.kind === "loop" ? make.image === "make" : make.kind !== "device" || make.format;
}

/** What was cut off in the making or removing of a container or template; whoever makes or removes the next clears it away. */
async function findLeftovers(host: HostView): Promise<string[]> {
  const templates = ((await host.list(TEMPLATES)) ?? []).map((name) => `${TEMPLATES}/${name}`);
  const found: string[] = [];
  for (const folder of [CONTAINERS, LXC_PATH, SCRATCH, ...templates]) {
    for (const name of await findAbandoned(host, folder)) found.push(`${folder}/${name}`);
  }
  return found;
}

async function checkReady(host: HostView): Promise<Finding> {
  const finding = await checkSubvolumes(host);
  if (finding.state === "blocked" || (await comesBack(host))) return finding;
  const changes = finding.state === "change" ? finding.changes : [];
  return changesNeeded([`Mount the pool at each boot again (${POOL_MOUNT_UNIT})`, ...changes]);
}

/** Whether the pool will be there after the next boot, as far as that is for its unit to say. */
async function comesBack(host: HostView): Promise<boolean> {
  if ((await host.stat(POOL_MOUNT_UNIT_FILE)) === undefined) return true;
  return (await host.probe(["systemctl", "is-enabled", POOL_MOUNT_UNIT])).exitCode === 0;
}

async function checkSubvolumes(host: HostView): Promise<Finding> {
  const top = await host.stat(POOL);
  if (top === undefined || top.uid !== 0 || (top.mode & 0o022) !== 0) {
    return {
      state: "blocked",
      reason: `${POOL} can be changed by others than root, who could replace what is in it`,
      hint: `chown root:root ${POOL} && chmod 755 ${POOL}`,
    };
  }
  const changes: string[] = [];
  for (const { name, mode, folders } of SUBVOLUMES) {
    const path = `${POOL}/${name}`;
    const found = await host.stat(path);
    if (found === undefined) {
      changes.push(`Create the subvolume ${name}`);
      continue;
    }
    if (!isSubvolume(found)) {
      return {
        state: "blocked",
        reason: `${path} exists and is no subvolume`,
        hint: `mv ${path} ${path}.before   # then run the installation again, and move its content back`,
      };
    }
    if (!(await isCompressed(host, path))) changes.push(`Turn on zstd compression for ${name}`);
    if (found.uid !== 0 || found.gid !== 0) changes.push(`Give ${name} to root`);
    if (found.mode !== mode) changes.push(`Set the mode of ${name} to ${mode.toString(8)}`);
    for (const folder of folders) {
      if ((await host.stat(`${path}/${folder}`)) === undefined) changes.push(`Create ${name}/${folder}`);
    }
  }
  for (const path of await findLeftovers(host)) {
    changes.push(`Remove ${path}, which a process that is no more had begun`);
  }
  return changesNeeded(changes);
}

async function isCompressed(host: HostView, path: string): Promise<boolean> {
  const answer = await host.probe(["btrfs", "property", "get", path, "compression"]);
  return answer.stdout.trim() === "compression=zstd";
}

async function makeSubvolumes(host: Host): Promise<void> {
  for (const { name, mode, folders } of SUBVOLUMES) {
    const path = `${POOL}/${name}`;
    if ((await host.stat(path)) === undefined) await createSubvolume(host, path);
    else if (!(await isCompressed(host, path)))
      await host.run(["btrfs", "property", "set", path, "compression", "zstd"]);
    await host.setAttributes(path, { mode, uid: 0, gid: 0 });
    for (const folder of folders) await host.makeDirectory(`${path}/${folder}`, { mode, uid: 0, gid: 0 });
  }
}
