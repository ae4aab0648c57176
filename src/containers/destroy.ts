import { join } from "node:path";
import { UserError } from "../host/errors.ts";
import type { Host, HostView } from "../host/host.ts";
import { CONTAINERS } from "../paths.ts";
import { claimName, discard, sweepAbandoned } from "../pool/claims.ts";
import { requirePool } from "../pool/find-pool.ts";
import { refuseMountsIn } from "../host/mounts.ts";
import { isLinked, linkForLxc, unlinkFromLxc } from "./lxc-link.ts";
import { containerFolder, lockContainer, refuseHalfRenamed, requireContainer } from "./record.ts";
import { runningContainers } from "./running.ts";
import { stopContainer } from "./stop.ts";
import { clearFailure, setOnboot, startsOnBoot, unitOf } from "./unit.ts";

const ATTEMPTS = 3;

/**
 * Removes a container and its data for good; also one of which only parts are left.
 * @throws {UserError} when there is nothing of it, or it runs and `force` is not given
 */
export async function destroyContainer(host: Host, name: string, force: boolean): Promise<void> {
  await requirePool(host);
  await sweepAbandoned(host, CONTAINERS);
  await requireSomething(host, name);
  const release = await lockContainer(host, name, "destroy");
  try {
    await destroyLocked(host, name, force);
  } finally {
    await release();
  }
}

async function requireSomething(host: HostView, name: string): Promise<void> {
  // a destroy that was cut off can have left the link alone, and so can a renaming
  if (!(await isLinked(host, name))) await requireContainer(host, name);
  else if ((await host.stat(containerFolder(name))) === undefined) await refuseHalfRenamed(host, name);
}

async function destroyLocked(host: Host, name: string, force: boolean): Promise<void> {
  await requireSomething(host, name);
  await refuseMountsIn(host, containerFolder(name));
  const gone = join(CONTAINERS, await claimName(host, "gone", name));
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    await requireStopped(host, name, force);
    // from here on an interruption would leave a part of it
    const shielded = { shielded: true };
    const onboot = await startsOnBoot(host, name);
    if (onboot) await setOnboot(host, name, false, shielded);
    const restore = async () => {
      await putBack(host, name, gone);
      if (onboot) await setOnboot(host, name, true, shielded);
    };
    try {
      await takeAway(host, name, gone);
    } catch (error) {
      await restore().catch(() => {});
      throw error;
    }
    if (!(await runningContainers(host)).has(name)) {
      await discard(host, gone);
      return clearFailure(host, name);
    }
    // somebody started it meanwhile, and found all of it before it was taken away
    await restore();
  }
  throw new UserError(`${name} is started again and again by somebody else`, {
    hint: `systemctl status ${unitOf(name)}`,
  });
}

async function requireStopped(host: Host, name: string, force: boolean): Promise<void> {
  if (!(await runningContainers(host)).has(name)) return;
  if (!force) throw new UserError(`${name} is running`, { hint: `op-dbus container stop ${name}, or destroy --force` });
  await stopContainer(host, name, { force: true });
}

// First what LXC finds it by, then all of it: a start that comes later finds no configuration, one that had
// read it finds no root file system, and one that had mounted that shows as running.
async function takeAway(host: Host, name: string, gone: string): Promise<void> {
  await unlinkFromLxc(host, name);
  if ((await host.stat(containerFolder(name))) !== undefined) await host.rename(containerFolder(name), gone);
}

async function putBack(host: Host, name: string, gone: string): Promise<void> {
  if ((await host.stat(gone)) !== undefined) await host.rename(gone, containerFolder(name));
  await linkForLxc(host, name);
}
