import { basename, dirname, join, resolve } from "node:path";
import { shellText } from "../host/command-failed.ts";
import { EXIT, UserError } from "../host/errors.ts";
import type { Host, HostView } from "../host/host.ts";
import { CONTAINERS, POOL } from "../paths.ts";
import { borrowing, making, sweepAbandoned } from "../pool/claims.ts";
import { requirePool } from "../pool/find-pool.ts";
import { listMounts, mountAt, mountHolding } from "../host/mounts.ts";
import { createSubvolume, isSubvolume, openReceived, snapshotReadOnly } from "../pool/subvolumes.ts";
import { parseCompsize } from "../pool/usage.ts";
import { humanBytes } from "../report/bytes.ts";
import { sayWhileWaiting } from "../report/patience.ts";
import type { Report } from "../report/report.ts";
import { readConfig } from "./describe.ts";
import { giveName } from "./identity.ts";
import { containerFolder, holding, readRecord, recordFile, recordText } from "./record.ts";

/** A container that is to be copied into another pool. */
export interface CopyRequest {
  readonly name: string;
  /** Where that pool is mounted. */
  readonly pool: string;
  /** What it is called there. */
  readonly as: string;
}

/**
 * Copies a container, running or stopped, into another pool that is mounted
 * on this host. There it has the layout of the pool, so that a host on which
 * that file system is the pool has the container; its identity stays what it
 * is. Snapshots stay behind.
 * @returns its folder there, and the bytes that were sent
 * @throws {UserError} when there is no such container, or the other pool cannot take it
 */
export async function copyContainer(
  host: Host,
  { name, pool, as }: CopyRequest,
  report: Report,
): Promise<{ path: string; bytes: number }> {
  await requirePool(host);
  await readRecord(host, name);
  await readConfig(host, name);
  await checkPool(host, pool);
  const there = join(pool, basename(CONTAINERS));
  const path = join(there, as);
  if ((await host.stat(path)) !== undefined) {
    throw new UserError(`There is a container ${as} in ${pool} already`, {
      hint: `op-dbus container copy ${name} --to ${shellText([pool])} --name NEW   # or look at ${path}`,
    });
  }
  await sweepAbandoned(host, CONTAINERS);
  await makeContainersFolder(host, there);
  await sweepAbandoned(host, there);
  const sizeBytes = await refuseTooLarge(host, name, pool);
  const ours = { mode: 0o600 };
  let bytes = 0;
  const task = `copy ${name} to ${pool}`;
  const fraction = () => (sizeBytes === undefined ? {} : { fraction: Math.min(0.99, bytes / Math.max(1, sizeBytes)) });
  const quiet = sayWhileWaiting(
    (seconds) => report({ kind: "progress", task, ...fraction(), detail: `${humanBytes(bytes)}, ${seconds} s` }),
    1.5,
  );
  const send = async (source: string, work: string) => {
    const { record, config } = await takeState(host, name, join(source, "rootfs"));
    const rootfs = join(work, "rootfs");
    // it makes a subvolume of the same name, and cannot be led out of the folder
    const receive = ["btrfs", "receive", "--quiet", "--chroot", "--", work] as const;
    await host.pipe(["btrfs", "send", "--quiet", "--", join(source, "rootfs")], receive, {
      onBytes: (sofar) => (bytes = sofar),
    });
    await openReceived(host, rootfs);
    await host.createText(recordFile(work), recordText({ ...record, name: as }), ours);
    await host.createText(join(work, "config"), await giveName(host, rootfs, config, name, as), ours);
    await host.run(["sync", "--file-system", "--", work]);
    await host.rename(work, path);
  };
  try {
    await borrowing(host, CONTAINERS, name, (source) => making(host, there, as, (work) => send(source, work)));
  } finally {
    quiet();
  }
  return { path, bytes };
}

/** Seals a copy of the tree, and gives the record and the configuration that belong to it. */
async function takeState(host: Host, name: string, to: string) {
  // it takes a moment, and what is sent afterwards is nobody else's
  return holding(host, name, "copy", async () => {
    const state = { record: await readRecord(host, name), config: await readConfig(host, name) };
    await snapshotReadOnly(host, join(containerFolder(name), "rootfs"), to);
    return state;
  });
}

/** @throws {UserError} when a path is no other pool, or not root's alone */
async function checkPool(host: HostView, path: string): Promise<void> {
  const refuse = (why: string, hint: string) => {
    throw new UserError(`Unable to copy to ${path}: ${why}`, { hint, exitCode: EXIT.usage });
  };
  const mounts = await listMounts(host);
  const mount = mountAt(mounts, path);
  if (resolve(path) !== path || mount === undefined)
    return refuse("no file system is mounted there", "findmnt -t btrfs   # give one of these, as it stands there");
  if (mount.type !== "btrfs") return refuse(`it is ${mount.type}, and a pool is BTRFS`, "findmnt -t btrfs");
  if (mount.source === mountHolding(mounts, POOL)?.source)
    return refuse(
      "that is the file system of this pool",
      "op-dbus container clone NAME NEW   # makes another one here",
    );
  for (let at = path; ; at = dirname(at)) {
    const found = await host.stat(at);
    const open = found === undefined || (found.mode & 0o022) !== 0;
    // in a folder like /tmp nobody can move what is root's
    const sticky = at !== path && ((found?.mode ?? 0) & 0o1000) !== 0;
    if (found?.uid !== 0 || (open && !sticky))
      return refuse(
        `others than root can write to ${at}`,
        `chown root: ${shellText([at])}; chmod go-w ${shellText([at])}`,
      );
    if (at === "/") break;
  }
}

/** Closed, like that of our own pool: a guest's set-uid files are root's on the disk. */
async function makeContainersFolder(host: Host, path: string): Promise<void> {
  const found = await host.stat(path);
  if (found === undefined) await createSubvolume(host, path);
  else if (!isSubvolume(found) || found.uid !== 0) {
    throw new UserError(`${path} is no subvolume of root's, as a pool has it`, { hint: `ls -ld ${shellText([path])}` });
  }
  await host.setAttributes(path, { mode: 0o700 });
}

/** @returns how many bytes its files have; undefined when that cannot be measured here */
async function refuseTooLarge(host: HostView, name: string, pool: string): Promise<number | undefined> {
  const measured = parseCompsize(await host.probe(["compsize", "--bytes", join(containerFolder(name), "rootfs")]));
  if ("unmeasured" in measured) return undefined;
  const { free } = await host.space(pool);
  if (measured.usedBytes <= free) return measured.sizeBytes;
  throw new UserError(`${name} takes ${humanBytes(measured.usedBytes)}, and ${pool} has ${humanBytes(free)} left`, {
    hint: `df -h ${shellText([pool])}   # make room there`,
  });
}
