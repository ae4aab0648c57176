import { CommandFailed } from "../host/command-failed.ts";
import { UserError } from "../host/errors.ts";
import type { Host } from "../host/host.ts";
import { requirePool } from "../pool/find-pool.ts";
import { attachArgv } from "./attach.ts";
import { findForeignIds } from "./fit.ts";
import { linkForLxc, lxcLink } from "./lxc-link.ts";
import { readRecord } from "./record.ts";
import { isSocketTaken, runningContainers } from "./running.ts";
import { unitLog, unitOf } from "./unit.ts";
import { until } from "../host/until.ts";

/** How long a monitor that ends may have its socket still. */
export const LEAVING_MS = 1000;
const START_DEADLINE_MS = 20_000;
const BOOT_DEADLINE_MS = 120_000;
/** A guest answers at once or not at all. */
const ANSWER_MS = 10_000;

/**
 * Starts a container, and returns when its init runs.
 * @returns false when it was running already
 * @throws {UserError} with what LXC said when it does not come up
 */
export async function startContainer(host: Host, name: string): Promise<boolean> {
  await requirePool(host);
  await readRecord(host, name);
  const foreign = await findForeignIds(host, name);
  if (foreign !== undefined) throw new UserError(foreign.what, { hint: foreign.mend });
  // a monitor that ends leaves its socket a moment later
  const found = await until(LEAVING_MS, async () => {
    if ((await runningContainers(host)).has(name)) return "running";
    return (await isSocketTaken(host, name)) ? undefined : "stopped";
  });
  if (found === "running") return false;
  if (found === undefined) throw foreignSocket(name, "start");
  await linkForLxc(host, name);
  const since = new Date();
  await host.run(["systemctl", "start", unitOf(name)]);
  const outcome = await until(START_DEADLINE_MS, async (timeoutMs) => {
    const asked = ["lxc-info", "--name", name, "--state", "--no-humanize"] as const;
    const info = await host.probe(asked, { timeoutMs });
    if (info.stdout.trim() === "RUNNING") return "running";
    const unit = await host.probe(["systemctl", "is-active", unitOf(name)]);
    return unit.stdout.trim() === "active" ? undefined : "ended";
  });
  if (outcome === "running") return true;
  const said = await unitLog(host, name, since);
  const why =
    said === ""
      ? " LXC did not say why"
      : said
          .split("\n")
          .map((line) => `\n  ${line}`)
          .join("");
  throw new UserError(`Unable to start ${name}:${why}`, {
    hint: said.includes("apparmor_parser not available")
      ? "apt-get install --no-install-recommends apparmor"
      : `journalctl -u ${unitOf(name)}; lxc-start -F -n ${name} -l DEBUG -o /dev/stderr`,
  });
}

/** What is told when somebody keeps the name of a container's socket, who is not its monitor. */
export function foreignSocket(name: string, verb: string): UserError {
  return new UserError(`Unable to ${verb} ${name}: a process that is not LXC's has the name of its monitor's socket`, {
    hint: `ss -xlp | grep -F ${lxcLink(name)}/command   # who is that?`,
  });
}

/**
 * Waits until the container's systemd has started all it wants to.
 * @returns its state: `running`, or `degraded` when units in it failed
 * @throws {UserError} when it does not get there
 */
export async function waitForBoot(host: Host, name: string): Promise<string> {
  const state = await until(BOOT_DEADLINE_MS, async (leftMs) => {
    if (!(await runningContainers(host)).has(name)) return "ended";
    const asked = await askSystemState(host, name, Math.min(leftMs, ANSWER_MS));
    return asked === "running" || asked === "degraded" ? asked : undefined;
  });
  if (state === "running" || state === "degraded") return state;
  const what =
    state === "ended" ? "ended while it started" : `did not finish starting within ${BOOT_DEADLINE_MS / 1000} s`;
  throw new UserError(`${name} ${what}`, { hint: `op-dbus container logs ${name}` });
}

/** Waits in the guest where it can: it answers at once only while it has no message bus yet. */
async function askSystemState(host: Host, name: string, timeoutMs: number): Promise<string> {
  try {
    return (
      await host.run(attachArgv(name, ["systemctl", "is-system-running", "--wait"]), { timeoutMs })
    ).stdout.trim();
  } catch (error) {
    // anything but `running` is an exit status
    if (!(error instanceof CommandFailed)) throw error;
    return error.result.stdout.trim();
  }
}
