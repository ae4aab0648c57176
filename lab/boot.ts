import { existsSync, readlinkSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { findOwnCgroup, leaveCgroup } from "./cgroups.ts";
import { findCgroupMounts } from "./machine.ts";
import { clearAfterHalt, findInit, nodeDirectory, type NodeRecord, updateRecord } from "./record.ts";
import { findProcess, isAlive, killProcess, startInBackground, type StartedProcess, waitUntil } from "./processes.ts";

/** A node that is up. */
export interface Booted {
  readonly record: NodeRecord;
  /** Its PID 1, by its number on this machine. */
  readonly init: StartedProcess;
}

/**
 * Starts systemd on the node's disk and waits until it says `running` or `degraded`.
 * @throws Error with the end of the node's console when it does not within a minute.
 */
export async function boot(record: NodeRecord, { network }: { network: boolean }): Promise<Booted> {
  try {
    const init = await startInit(record);
    const helpers = network ? [await startNetwork(record, init)] : [];
    const booted = { record: { ...record, helpers }, init };
    await waitUntilRunning(booted);
    return booted;
  } catch (error) {
    const tail = readFileSync(consoleOf(record), "utf8").split("\n").slice(-30).join("\n");
    throw new Error(`Unable to boot the node ${record.name}. Its console ended with:\n${tail}`, { cause: error });
  }
}

/** Brings a node down by its own systemd, so that its units stop in order. */
export async function shutDown(booted: Booted): Promise<void> {
  await execa("nsenter", [...namespaceOptions(booted.init), "/usr/bin/systemctl", "--no-block", "poweroff"]);
  const ended = () => !isAlive(booted.init);
  await waitUntil(ended, { timeoutMs: 120_000, what: `the node ${booted.record.name} to power off` });
  await clearAfterHalt(booted.record);
}

/** Ends a node at once, as a power cut would; what its kernel (this machine's) had not written yet is still written. */
export async function pullPlug(booted: Booted): Promise<void> {
  await killProcess(booted.init);
  await clearAfterHalt(booted.record);
}

/** The options that make nsenter enter all of a node but its user and time namespaces, which are the machine's. */
export function namespaceOptions({ pid }: StartedProcess): string[] {
  return ["--target", `${pid}`, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"];
}

async function startInit(record: NodeRecord): Promise<StartedProcess> {
  const directory = nodeDirectory(record.name);
  const script = [join(import.meta.dirname, "init.sh"), "outside", directory, record.name, ...record.cgroups];
  const child = startInBackground(["sh", ...script], consoleOf(record), record);
  const started = () => child.hasEnded() || existsSync(join(directory, "pid1"));
  await waitUntil(started, { timeoutMs: 10_000, what: "the namespaces of the node" });
  const init = await findInit(record.name);
  if (init === undefined) throw new Error("its PID 1 ended at once");

  // A group with processes of its own could not hand controllers on to the node's groups.
  const mounts = findCgroupMounts();
  if (mounts !== undefined) {
    leaveCgroup(child.pid, mounts.cgroup2, findOwnCgroup(""));
    if (mounts.systemd !== undefined) leaveCgroup(child.pid, mounts.systemd, findOwnCgroup("name=systemd"));
  }
  return init;
}

/** Gives the node a way out through this machine, by a user-mode network that changes nothing here. */
async function startNetwork(record: NodeRecord, init: StartedProcess): Promise<StartedProcess> {
  const slirp = ["slirp4netns", "--configure", "--disable-host-loopback", `${init.pid}`, "tap0"];
  const child = startInBackground(slirp, join(nodeDirectory(record.name), "slirp4netns.log"), record);
  const helper = findProcess(child.pid);
  if (helper === undefined) throw new Error("slirp4netns did not start");
  await updateRecord({ ...record, helpers: [helper] });
  const routed = () => readFileSync(`/proc/${init.pid}/net/route`, "utf8").includes("tap0\t00000000\t");
  await waitUntil(routed, { timeoutMs: 10_000, what: "slirp4netns to give the node a default route" });
  return helper;
}

async function waitUntilRunning({ init }: Booted): Promise<void> {
  // Before this, its mount namespace still shows this machine's own systemd.
  const booting = () => readlinkSync(`/proc/${init.pid}/exe`).endsWith("/systemd");
  await waitUntil(booting, { timeoutMs: 10_000, what: "its systemd to start" });
  const running = async () => {
    if (!isAlive(init)) throw new Error("its PID 1 ended");
    const ask = [...namespaceOptions(init), "/usr/bin/systemctl", "is-system-running", "--wait"];
    const { stdout } = await execa("nsenter", ask, { reject: false, timeout: 60_000, stdin: "ignore" });
    return stdout === "running" || stdout === "degraded";
  };
  await waitUntil(running, { timeoutMs: 60_000, what: "its systemd to say that it runs" });
}

function consoleOf(record: NodeRecord): string {
  return join(nodeDirectory(record.name), "console.log");
}
