import { join } from "node:path";
import { shellText } from "../host/command-failed.ts";
import { UserError } from "../host/errors.ts";
import type { Host, HostView } from "../host/host.ts";
import { CONTAINERS } from "../paths.ts";
import { borrowing, sweepAbandoned } from "../pool/claims.ts";
import { requirePool } from "../pool/find-pool.ts";
import { refuseMountsIn } from "../host/mounts.ts";
import { isSubvolume, replaceNested, snapshotReadOnly, snapshotSubvolume } from "../pool/subvolumes.ts";
import { giveName } from "./identity.ts";
import { exchangeStopped, refuseRunning } from "./move-stopped.ts";
import {
  containerFolder,
  lockContainer,
  readRecord,
  recordFile,
  recordIn,
  recordText,
  requireContainer,
} from "./record.ts";
import { readSnapshot, snapshotNames, snapshotsFolder, type SnapshotState } from "./snapshot.ts";
import { clearFailure } from "./unit.ts";

/**
 * Takes a stopped container back to a snapshot: its files, its record and
 * LXC's configuration. Its name, its snapshots, what else lies in its folder,
 * and whether it starts with the host stay as they are.
 *
 * The folder as it will be is made under a hidden name, and exchanged with
 * the present one in one step: at any moment the container is all old or all new.
 * @throws {UserError} when there is no such snapshot, or the container runs
 */
export async function rollbackContainer(host: Host, name: string, snapshot: string): Promise<void> {
  await requirePool(host);
  await requireContainer(host, name);
  const release = await lockContainer(host, name, "rollback");
  try {
    await sweepAbandoned(host, CONTAINERS);
    // one that cannot be read is mended by this; one of another name tells a renaming that was cut off
    if ((await recordIn(host, containerFolder(name))) !== undefined) await readRecord(host, name);
    const state = await readSnapshot(host, name, snapshot);
    await refuseRunning(host, name);
    await refuseSubvolumesBeside(host, name);
    await refuseMountsIn(host, containerFolder(name));
    await borrowing(host, CONTAINERS, name, async (work) => {
      await makeAsItWas(host, name, state, work);
      // from here on what it was lies there
      await exchangeStopped(host, name, work);
    });
    // what failed was what it is no more
    await clearFailure(host, name);
  } finally {
    await release();
  }
}

/** @throws {UserError} when somebody keeps a subvolume in the folder: no file of it can have a second name outside */
async function refuseSubvolumesBeside(host: HostView, name: string): Promise<void> {
  const folder = containerFolder(name);
  for (const each of (await host.list(folder)) ?? []) {
    const path = join(folder, each);
    if (each === "rootfs" || !isSubvolume(await host.stat(path))) continue;
    throw new UserError(`Unable to roll back ${name}: ${path} is a subvolume of its own`, {
      hint: `${shellText(["mv", path, "/var/lib/"])}   # or elsewhere, and back when that is done`,
    });
  }
}

async function makeAsItWas(host: Host, name: string, state: SnapshotState, work: string): Promise<void> {
  const folder = containerFolder(name);
  const ours = { mode: 0o600 };
  await host.createText(recordFile(work), recordText({ ...state.record, name }), ours);
  const rootfs = join(work, "rootfs");
  await snapshotSubvolume(host, state.rootfs, rootfs);
  await replaceNested(host, rootfs);
  // it may have been renamed since
  const config = await giveName(host, rootfs, state.config, state.record.name, name);
  await host.createText(join(work, "config"), config, ours);
  await keepBeside(host, folder, work, ["container.json", "config", "rootfs", "snapshots"]);
  for (const each of await snapshotNames(host, name)) {
    const from = join(snapshotsFolder(folder), each);
    const to = join(snapshotsFolder(work), each);
    await host.makeDirectory(to, { mode: 0o700 });
    await keepBeside(host, from, to, ["rootfs"]);
    if (isSubvolume(await host.stat(join(from, "rootfs"))))
      await snapshotReadOnly(host, join(from, "rootfs"), join(to, "rootfs"));
  }
}

/** The same files under a second name (what an admin put there may be open), but for those that are made anew. */
async function keepBeside(host: Host, from: string, to: string, anew: readonly string[]): Promise<void> {
  const kept = ((await host.list(from)) ?? []).filter((name) => !anew.includes(name));
  if (kept.length === 0) return;
  await host.run(["cp", "--archive", "--link", "--", ...kept.map((name) => join(from, name)), to]);
}
