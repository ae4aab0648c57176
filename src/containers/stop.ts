import { CommandFailed } from "../host/command-failed.ts";
import { UserError } from "../host/errors.ts";
import type { Host } from "../host/host.ts";
import { runningContainers } from "./running.ts";
import { clearFailure, unitOf } from "./unit.ts";
import { until } from "../host/until.ts";

const STOP_DEADLINE_MS = 20_000;
/** What LXC's monitor may take to answer, beyond the time that the guest was given. */
const ANSWER_MS = 15_000;

/**
 * Stops a container: asks its init to halt, and waits for that; `force` pulls the plug.
 * @returns false when it was not running
 * @throws {UserError} when it does not halt in time, or LXC's monitor does not answer
 */
export async function stopContainer(
  host: Host,
  name: string,
  options: { force?: boolean; timeoutSeconds?: number } = {},
): Promise<boolean> {
  if (!(await runningContainers(host)).has(name)) return false;
  await (options.force ? kill(host, name) : halt(host, name, options.timeoutSeconds ?? 60));
  // the unit ends with its lxc-start; stopping it settles its state, whoever started the container
  await host.run(["systemctl", "stop", unitOf(name)]);
  await clearFailure(host, name);
  const gone = await until(STOP_DEADLINE_MS, async () =>
    (await runningContainers(host)).has(name) ? undefined : true,
  );
  if (!gone) throw new UserError(`${name} is still running`, { hint: `op-dbus container stop ${name} --force` });
  return true;
}

// lxc-stop fails for one that ended by itself meanwhile
async function hasEnded(host: Host, name: string): Promise<boolean> {
  return !(await runningContainers(host)).has(name);
}

async function halt(host: Host, name: string, seconds: number): Promise<void> {
  const argv = ["lxc-stop", "--name", name, "--nokill", "--timeout", String(seconds)] as const;
  try {
    await host.run(argv, { timeoutMs: seconds * 1000 + ANSWER_MS });
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error;
    if (await hasEnded(host, name)) return;
    throw new UserError(`${name} did not halt when it was asked to`, {
      hint: `op-dbus container logs ${name}; op-dbus container stop ${name} --force   # pulls the plug`,
      cause: error,
    });
  }
}

async function kill(host: Host, name: string): Promise<void> {
  try {
    await host.run(["lxc-stop", "--name", name, "--kill"], { timeoutMs: ANSWER_MS });
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error;
    if (await hasEnded(host, name)) return;
    throw new UserError(`Unable to kill ${name}: ${error.message}`, {
      hint: `systemctl kill --signal=KILL ${unitOf(name)}   # ends LXC's monitor, and the container with it`,
      cause: error,
    });
  }
}
