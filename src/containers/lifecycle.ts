import { join } from "node:path";
import { CommandFailed } from "../host/command-failed.ts";
import { UserError } from "../host/errors.ts";
import type { Argv, Host, HostView } from "../host/host.ts";
import { claimName, discard, sweepAbandoned } from "../pool/claims.ts";
import { CONTAINERS } from "../paths.ts";
import { requirePool } from "../pool/find-pool.ts";
import { refuseMountsIn } from "../pool/mounts.ts";
import { linkForLxc } from "./create.ts";
import { containerFolder, LXC_PATH, readRecord } from "./record.ts";
import { runningContainers } from "./running.ts";

/** Containers run as instances of Debian's own unit, so that they never live or die with ours. */
export function unitOf(name: string): string {
  return `lxc@${name}.service`;
}

const START_DEADLINE_MS = 20_000;
const BOOT_DEADLINE_MS = 120_000;
const POLL_MS = 20;

/**
 * Starts a container, and returns when its init runs.
 * @returns false when it was running already
 * @throws {UserError} with what LXC said when it does not come up
 */
export async function startContainer(host: Host, name: string): Promise<boolean> {
  await requirePool(host);
  await readRecord(host, name);
  if ((await runningContainers(host)).has(name)) return false;
  // makes the link where it is missing, and refuses a container of the same name that is not ours
  if (!(await linksToUs(host, name))) await linkForLxc(host, name);
  const since = new Date();
  await host.run(["systemctl", "start", unitOf(name)]);
  const started = await until(START_DEADLINE_MS, async () => {
    const info = await host.probe(["lxc-info", "--name", name, "--state", "--no-humanize"]);
    if (info.stdout.trim() === "RUNNING") return "running";
    const unit = await host.probe(["systemctl", "is-active", unitOf(name)]);
    return unit.stdout.trim() === "active" ? undefined : "ended";
  });
  if (started !== "running") {
    const said = await unitLog(host, name, since);
    throw new UserError(`Unable to start ${name}:\n${said}`, {
      hint: said.includes("apparmor_parser not available")
        ? "apt-get install --no-install-recommends apparmor"
        : `journalctl -u ${unitOf(name)}; lxc-start -F -n ${name} -l DEBUG -o /dev/stderr`,
    });
  }
  return true;
}

/**
 * Waits until the container's systemd has started all it wants to.
 * @returns its state: `running`, or `degraded` when units in it failed
 * @throws {UserError} when it does not get there
 */
export async function waitForBoot(host: Host, name: string): Promise<string> {
  const state = await until(BOOT_DEADLINE_MS, async () => {
    if (!(await runningContainers(host)).has(name)) return "ended";
    const asked = await attached(host, name, ["systemctl", "is-system-running"]);
    return ["running", "degraded"].includes(asked) ? asked : undefined;
  });
  if (state === "running" || state === "degraded") return state;
  if (state === "ended")
    throw new UserError(`${name} ended while it started`, { hint: `op-dbus container logs ${name}` });
  throw new UserError(`${name} did not finish starting within ${BOOT_DEADLINE_MS / 1000} s`, {
    hint: `op-dbus container logs ${name}`,
  });
}

async function attached(host: Host, name: string, command: Argv): Promise<string> {
  try {
    return (await host.run(attachArgv(name, command))).stdout.trim();
  } catch (error) {
    const { result } = error as { result?: { stdout: string } };
    if (result === undefined) throw error;
    return result.stdout.trim();
  }
}

/** The command that runs a command inside a container, as its root, with none of our environment. */
export function attachArgv(name: string, command: readonly string[]): Argv {
  return [
    "lxc-attach",
    "--name",
    name,
    "--clear-env",
    "--set-var",
    `TERM=${process.env["TERM"] ?? "linux"}`,
    "--set-var",
    "HOME=/root",
    "--",
    ...command,
  ];
}

/**
 * Stops a container: asks its init to halt, and waits for that; `force` pulls the plug.
 * @returns false when it was not running
 */
export async function stopContainer(
  host: Host,
  name: string,
  options: { force?: boolean; timeoutSeconds?: number } = {},
): Promise<boolean> {
  if (!(await runningContainers(host)).has(name)) return false;
  const timeout = String(options.timeoutSeconds ?? 60);
  await haltOrKill(host, name, options.force ? ["--kill"] : ["--nokill", "--timeout", timeout]);
  // the unit ends with its lxc-start; stopping it settles its state, whoever started the container
  await host.run(["systemctl", "stop", unitOf(name)]);
  await clearFailure(host, name);
  const gone = await until(START_DEADLINE_MS, async () =>
    (await runningContainers(host)).has(name) ? undefined : true,
  );
  if (!gone) throw new UserError(`${name} is still running`, { hint: `op-dbus container stop ${name} --force` });
  return true;
}

async function haltOrKill(host: Host, name: string, how: readonly string[]): Promise<void> {
  try {
    await host.run(["lxc-stop", "--name", name, ...how]);
  } catch (error) {
    if (!(error instanceof CommandFailed) || how[0] === "--kill") throw error;
    throw new UserError(`${name} did not halt when it was asked to`, {
      hint: `op-dbus container logs ${name}; op-dbus container stop ${name} --force   # pulls the plug`,
      cause: error,
    });
  }
}

// a container that was killed, or did not start, leaves its unit marked as failed, and the host as degraded
async function clearFailure(host: Host, name: string): Promise<void> {
  const state = await host.probe(["systemctl", "is-failed", unitOf(name)]);
  if (state.stdout.trim() === "failed") await host.run(["systemctl", "reset-failed", unitOf(name)]);
}

/** Makes a container start with the host, or not. */
export async function setOnboot(host: Host, name: string, onboot: boolean): Promise<void> {
  await host.run(["systemctl", onboot ? "enable" : "disable", "--quiet", unitOf(name)]);
}

/** Whether a container starts with the host. */
export async function startsOnBoot(host: HostView, name: string): Promise<boolean> {
  return (await host.probe(["systemctl", "is-enabled", unitOf(name)])).stdout.trim() === "enabled";
}

/**
 * Removes a container and its data for good; also one of which only parts are left.
 * @throws {UserError} when there is nothing of it, or it runs and `force` is not given
 */
export async function destroyContainer(host: Host, name: string, force: boolean): Promise<void> {
  await requirePool(host);
  await sweepAbandoned(host, CONTAINERS);
  if (!(await linksToUs(host, name)) && (await host.stat(containerFolder(name))) === undefined) {
    await readRecord(host, name);
  }
  await refuseMountsIn(host, containerFolder(name));
  const gone = join(CONTAINERS, await claimName(host, "gone", name));
  for (let attempt = 0; attempt < DESTROY_ATTEMPTS; attempt++) {
    await requireStopped(host, name, force);
    const onboot = await startsOnBoot(host, name);
    if (onboot) await setOnboot(host, name, false);
    await takeAway(host, name, gone);
    if (!(await runningContainers(host)).has(name)) {
      await clearFailure(host, name);
      return discard(host, gone);
    }
    // somebody started it meanwhile, and found all of it before it was taken away
    await putBack(host, name, gone);
    if (onboot) await setOnboot(host, name, true);
  }
  throw new UserError(`${name} is started again and again by somebody else`, {
    hint: `systemctl status ${unitOf(name)}`,
  });
}

const DESTROY_ATTEMPTS = 3;

async function linksToUs(host: HostView, name: string): Promise<boolean> {
  return (await host.readLink(join(LXC_PATH, name))) === containerFolder(name);
}

async function requireStopped(host: Host, name: string, force: boolean): Promise<void> {
  if (!(await runningContainers(host)).has(name)) return;
  if (!force) throw new UserError(`${name} is running`, { hint: `op-dbus container stop ${name}, or destroy --force` });
  await stopContainer(host, name, { force: true });
}

// First what LXC finds it by, then all of it: a start that comes later finds no configuration, one that had
// read it finds no root file system, and one that had mounted that shows as running.
async function takeAway(host: Host, name: string, gone: string): Promise<void> {
  if (await linksToUs(host, name)) await host.remove(join(LXC_PATH, name));
  if ((await host.stat(containerFolder(name))) !== undefined) await host.rename(containerFolder(name), gone);
}

async function putBack(host: Host, name: string, gone: string): Promise<void> {
  if ((await host.stat(gone)) !== undefined) await host.rename(gone, containerFolder(name));
  await linkForLxc(host, name);
}

async function unitLog(host: HostView, name: string, since: Date): Promise<string> {
  const seconds = Math.floor(since.getTime() / 1000);
  const log = await host.probe([
    "journalctl",
    "--no-pager",
    "--output=cat",
    `--since=@${seconds}`,
    "--unit",
    unitOf(name),
    "--lines=12",
  ]);
  return log.stdout
    .trim()
    .split("\n")
    .map((line) => `  ${line}`)
    .join("\n");
}

async function until<T>(deadlineMs: number, look: () => Promise<T | undefined>): Promise<T | undefined> {
  const deadline = Date.now() + deadlineMs;
  for (;;) {
    const found = await look();
    if (found !== undefined || Date.now() > deadline) return found;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
