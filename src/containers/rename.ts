import { join } from "node:path";
import { UserError } from "../host/errors.ts";
import type { Host, HostView } from "../host/host.ts";
import { CONTAINERS } from "../paths.ts";
import { sweepAbandoned } from "../pool/claims.ts";
import { requirePool } from "../pool/find-pool.ts";
import { refuseTaken } from "./create.ts";
import { readConfig } from "./describe.ts";
import { forgetHostName, wasStarted } from "./identity.ts";
import { renamedConfig, withoutKeys } from "./lxc-config.ts";
import { isLinked, linkForLxc, unlinkFromLxc } from "./lxc-link.ts";
import { refuseRunning, renameStopped } from "./move-stopped.ts";
import { containerFolder, lockContainer, readRecord, recordFile, recordIn, recordText } from "./record.ts";
import { clearFailure, setOnboot, startsOnBoot } from "./unit.ts";

/**
 * Gives a stopped container another name, and with it all that is its: files,
 * snapshots, configuration, its start with the host. Its folder is renamed in
 * one step; what follows from that is made true after it, its record last. So
 * a record of another name tells a renaming that was cut off, and the same
 * call goes on with it.
 * @throws {UserError} when there is no such container, it runs, or the new name is taken
 */
export async function renameContainer(host: Host, name: string, to: string): Promise<void> {
  await requirePool(host);
  const release = await lockContainer(host, name, "rename");
  const releaseOther = await lockContainer(host, to, "rename").catch(async (error: unknown) => {
    await release();
    throw error;
  });
  try {
    await sweepAbandoned(host, CONTAINERS);
    if (!(await isHalfRenamed(host, name, to))) {
      await readRecord(host, name);
      await readConfig(host, name);
      await refuseTaken(host, to);
      await refuseRunning(host, name);
      // of one that came on a disk from another host there may be none
      if (!(await isLinked(host, name))) await linkForLxc(host, name);
      await renameStopped(host, name, to);
    }
    await finishRenaming(host, name, to).catch((error: unknown) => {
      if (!(error instanceof UserError)) throw error;
      const message = `${name} is called ${to} now, but not everywhere: ${error.message}`;
      throw new UserError(message, {
        hint: `op-dbus container rename ${name} ${to}   # goes on where it ended`,
        cause: error,
      });
    });
  } finally {
    await releaseOther();
    await release();
  }
}

async function isHalfRenamed(host: HostView, name: string, to: string): Promise<boolean> {
  if ((await host.stat(containerFolder(name))) !== undefined) return false;
  return (await recordIn(host, containerFolder(to)))?.name === name;
}

/** Can be done again from the start, wherever it was cut off. */
async function finishRenaming(host: Host, name: string, to: string): Promise<void> {
  const folder = containerFolder(to);
  const config = join(folder, "config");
  const rootfs = join(folder, "rootfs");
  const text = renamedConfig((await host.readText(config)) ?? "", name, to);
  const started = await wasStarted(host, rootfs);
  await host.writeText(config, started ? withoutKeys(text) : text, { mode: 0o600 });
  await forgetHostName(host, rootfs);
  await linkForLxc(host, to);
  const shielded = { shielded: true };
  if (await startsOnBoot(host, name, shielded)) {
    await setOnboot(host, to, true, shielded);
    await setOnboot(host, name, false, shielded);
  }
  await clearFailure(host, name);
  const record = await recordIn(host, folder);
  // last, and together: up to here the link keeps the old name from being given away, and the record says what to go on with
  await unlinkFromLxc(host, name);
  if (record !== undefined)
    await host.writeText(recordFile(folder), recordText({ ...record, name: to }), { mode: 0o600 });
}
