import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { boot, type Booted, namespaceOptions, pullPlug, shutDown } from "./boot.ts";
import { mountDisk, openLayer, saveDiskAsLayer, unmountDisk } from "./disk.ts";
import { buildImage, type Suite } from "./image.ts";
import { findCgroupMounts } from "./machine.ts";
import { labCache } from "./paths.ts";
import { bootId, findProcess } from "./processes.ts";
import {
  createRecord,
  findInit,
  findRecord,
  isOwned,
  nodeDirectory,
  type NodeRecord,
  removeLeftovers,
  removeNode,
} from "./record.ts";
import { type Finished, runInNode, type Running, type RunOptions, showInNode, spawnInNode } from "./run-in-node.ts";

export { missingForLab } from "./machine.ts";

/** What a node should be. */
export interface NodeOptions {
  /** Its host name; one node of a name at a time. */
  readonly name: string;
  /** Debian release, trixie unless given. A layer brings its own. */
  readonly suite?: Suite;
  /** Without the packages that ours depends on. */
  readonly bare?: boolean;
  /** Start from what another node saved by this name. */
  readonly layer?: string;
  /** A way out through this machine; true unless given. */
  readonly network?: boolean;
  /** Outlive this process, until stopNode or a new start of that name. */
  readonly keep?: boolean;
}

/** A Debian node with a systemd, a network, a process tree and a disk of its own, on this machine's kernel. */
export interface LabNode {
  readonly name: string;
  /** Where this machine sees the node's root file system. */
  readonly root: string;
  /** The command line that opens a shell in it, as long as it is not rebooted. */
  readonly enter: string;
  /** Runs a command as root through the node's own systemd, in /root. Never rejects for a non-zero exit. */
  run(argv: readonly string[], options?: RunOptions): Promise<Finished>;
  /** Runs a command that prints straight to this process's terminal; gives its exit code. */
  show(argv: readonly string[]): Promise<number>;
  /** Starts a command, to be killed while it runs. Comes back when its main process is there. */
  spawn(argv: readonly string[], options?: RunOptions): Promise<Running>;
  /** Goes down in order and comes up again on the same disk. */
  reboot(): Promise<void>;
  /** Loses power and comes up again on the same disk. What was written but not synced survives, as the kernel does. */
  crash(): Promise<void>;
  /**
   * Goes down in order, saves its disk as a layer for startNode, and comes up
   * again on top of it. A layer of that name is replaced.
   */
  saveLayer(name: string): Promise<void>;
  /** Ends it at once and removes all of it. */
  stop(): Promise<void>;
}

/**
 * Boots a disposable node, after removing what earlier, killed runs left.
 * @throws Error when a living process has a node of that name, or when it does not boot.
 */
export async function startNode({
  name,
  suite = "trixie",
  bare = false,
  layer,
  network = true,
  keep = false,
}: NodeOptions): Promise<LabNode> {
  await removeLeftovers();
  const earlier = await findRecord(name);
  if (earlier !== undefined) {
    if (isOwned(earlier))
      throw new Error(`Unable to start the node ${name}: process ${earlier.owner.pid} runs one of that name`);
    await removeNode(earlier);
  }
  let lower = layer === undefined ? [await buildImage(suite, bare)] : await openLayer(layer);
  const record = newRecord(name, keep);
  await createRecord(record);

  const directory = nodeDirectory(name);
  let booted: Booted;
  const up = async () => (booted = await boot(record, { network }));
  try {
    await mountDisk(directory, lower);
    await writeIdentity(join(directory, "root"), name, network);
    booted = await up();
  } catch (error) {
    await removeNode((await findRecord(name)) ?? record);
    throw error;
  }

  return {
    name,
    root: join(directory, "root"),
    get enter() {
      const shell = [
        "systemd-run",
        "--quiet",
        "--pty",
        "--collect",
        "--property=Delegate=yes",
        "--working-directory=/root",
      ];
      return ["nsenter", ...namespaceOptions(booted.init), ...shell, "--setenv=HOME=/root", "bash", "-l"].join(" ");
    },
    run: (argv, options) => runInNode(booted, argv, options),
    show: (argv) => showInNode(booted, argv),
    spawn: (argv, options) => spawnInNode(booted, argv, options),
    async reboot() {
      await shutDown(booted);
      await up();
    },
    async crash() {
      await pullPlug(booted);
      await up();
    },
    async saveLayer(layerName) {
      await shutDown(booted);
      await unmountDisk(directory);
      lower = await saveDiskAsLayer(directory, lower, layerName);
      await mountDisk(directory, lower);
      await up();
    },
    stop: () => stopNode(name),
  };
}

/** Ends a node, one that an earlier process kept too, and removes all of it; nothing when there is none. */
export async function stopNode(name: string): Promise<void> {
  const record = await findRecord(name);
  if (record !== undefined) await removeNode(record);
}

/** Whether a node of this name was kept by an earlier process, and still runs. */
export async function isKept(name: string): Promise<boolean> {
  const record = await findRecord(name);
  return record?.keep === true && record.bootId === bootId() && (await findInit(name)) !== undefined;
}

function newRecord(name: string, keep: boolean): NodeRecord {
  if (!/^[a-z][a-z0-9-]{0,40}$/.test(name)) throw new Error(`Unable to start the node ${name}: not a host name`);
  const mounts = findCgroupMounts();
  const owner = findProcess(process.pid);
  if (mounts === undefined || owner === undefined) throw new Error("Unable to start a node: see missingForLab");
  // Another checkout may have a node of the same name.
  const cgroup = `opdbus-lab-${createHash("sha256").update(labCache).digest("hex").slice(0, 6)}-${name}`;
  const cgroups = [mounts.cgroup2, mounts.systemd].flatMap((mount) =>
    mount === undefined ? [] : [join(mount, cgroup)],
  );
  return { name, bootId: bootId(), owner, keep, cgroups, helpers: [] };
}

/** What sets one machine apart from another that was made from the same disk. */
async function writeIdentity(root: string, name: string, network: boolean): Promise<void> {
  await writeFile(join(root, "etc/hostname"), `${name}\n`);
  await writeFile(join(root, "etc/hosts"), `127.0.0.1 localhost\n127.0.1.1 ${name}\n::1 localhost\n`);
  // Empty, so that systemd makes a new one; without the file it would think of a first boot and enable presets.
  await writeFile(join(root, "etc/machine-id"), "");
  await writeFile(join(root, "etc/resolv.conf"), network ? "nameserver 10.0.2.3\n" : "");
}
