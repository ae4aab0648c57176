import type { JsonObject } from "../audit/rows.ts";
import { checkContainerName } from "../config/names.ts";
import { type ContainerSummary, describeContainers } from "../containers/describe.ts";
import { attachArgv } from "../containers/attach.ts";
import { destroyContainer } from "../containers/destroy.ts";
import { containerFolder, readRecord, requireContainer } from "../containers/record.ts";
import { runningContainers } from "../containers/running.ts";
import { snapshotNames } from "../containers/snapshot.ts";
import { startContainer, waitForBoot } from "../containers/start.ts";
import { stopContainer } from "../containers/stop.ts";
import { startsOnBoot, unitOf } from "../containers/unit.ts";
import { EXIT, Interrupted, UserError } from "../host/errors.ts";
import { requirePool } from "../pool/find-pool.ts";
import { wholeNumber } from "./numbers.ts";
import { describeError } from "./renderer.ts";
import {
  type CommonOptions,
  confirm,
  recorded,
  recordedAnyway,
  runCommand,
  type Session,
  withPatience,
} from "./session.ts";

/** `op-dbus container list` */
export async function list(
  options: CommonOptions & { readonly running?: boolean; readonly stopped?: boolean },
): Promise<void> {
  await runCommand(options, async ({ host, out, json }) => {
    await requirePool(host);
    const all = await describeContainers(host);
    const shown = all.filter(
      ({ running }) => (options.running ? running : true) && (options.stopped ? !running : true),
    );
    if (json) out.json({ schema: 1, containers: shown });
    else out.table(["NAME", "STATE", "NETWORK", "TEMPLATE", "CORES", "MEMORY"], shown.map(toRow));
    for (const container of shown) if ("broken" in container) out.report({ kind: "warn", text: container.broken });
  });
}

function toRow(container: ContainerSummary): string[] {
  const state = container.running ? "running" : "stopped";
  if ("broken" in container) return [container.name, `${state}, broken`, "?", "?", "?", "?"];
  const { network, template, cores, memoryMiB } = container.record;
  return [container.name, state, network, template, String(cores), `${memoryMiB} MiB`];
}

/** `op-dbus container show` */
export async function show(name: string, options: CommonOptions): Promise<void> {
  await runCommand(options, async ({ host, out, json }) => {
    await requirePool(host);
    const record = await readRecord(host, checkContainerName(name));
    const facts = {
      ...record,
      running: (await runningContainers(host)).has(name),
      onboot: await startsOnBoot(host, name),
      unit: unitOf(name),
      rootfs: `${containerFolder(name)}/rootfs`,
      snapshots: (await snapshotNames(host, name)).length,
    };
    if (json) return out.json(facts);
    for (const [key, value] of Object.entries(facts)) {
      const later = key === "network" && value === "socket" ? " (recorded; for now it has loopback only)" : "";
      const text = Array.isArray(value) ? value.join(", ") || "none" : `${String(value)}${later}`;
      if (key !== "schema") out.print(`${key.padEnd(16)}  ${text}`);
    }
  });
}

/** Runs a change on each of several containers, on record, and says how it went. */
async function forEach(
  session: Session,
  names: readonly string[],
  operation: "start" | "stop" | "restart" | "destroy",
  change: (name: string) => Promise<string>,
  { record = recorded, details = {} }: { record?: typeof recorded; details?: JsonObject } = {},
): Promise<void> {
  const { host, out, json } = session;
  for (const name of names) checkContainerName(name);
  await requirePool(host);
  const containers = await inTurn(session, names, (name) =>
    withPatience(session, `${operation} ${name}`, () =>
      record(session, `container_${operation}`, name, details, () => change(name)),
    ),
  );
  if (json) out.json({ schema: 1, containers });
}

type Outcome = { name: string; result: string } | { name: string; error: ReturnType<typeof describeError> };

/**
 * Changes one after the other, and says how it went. One that fails does not
 * keep the others from their turn; the exit code is that of the first that
 * did, unless an interruption ended them all.
 */
export async function inTurn(
  { out, json }: Session,
  names: readonly string[],
  change: (name: string) => Promise<string>,
): Promise<Outcome[]> {
  const results: Outcome[] = [];
  for (const name of names) {
    try {
      const result = await change(name);
      results.push({ name, result });
      if (!json) out.print(`${name}: ${result}`);
    } catch (error) {
      results.push({ name, error: describeError(error) });
      out.fail(error, false);
      const exitCode = error instanceof UserError ? error.exitCode : EXIT.failed;
      const endsAll = error instanceof Interrupted || !(error instanceof UserError);
      process.exitCode = endsAll ? exitCode : (process.exitCode ?? exitCode);
      if (endsAll) break;
    }
  }
  return results;
}

/** `op-dbus container start` */
export async function start(
  names: readonly string[],
  options: CommonOptions & { readonly wait?: boolean },
): Promise<void> {
  await runCommand(options, async (session) => {
    const { host } = session;
    await forEach(session, names, "start", async (name) => {
      const changed = await startContainer(host, name);
      if (options.wait) return waitForBoot(host, name);
      return changed ? "started" : "was running already";
    });
  });
}

interface StopOptions extends CommonOptions {
  readonly force?: boolean;
  readonly timeout: string;
}

/** `op-dbus container stop` */
export async function stop(names: readonly string[], options: StopOptions): Promise<void> {
  await runCommand(options, async (session) => {
    const timeoutSeconds = wholeNumber("--timeout", options.timeout, 1, 3600);
    const stopOne = async (name: string) => {
      await requireContainer(session.host, name);
      const changed = await stopContainer(session.host, name, { force: options.force ?? false, timeoutSeconds });
      return changed ? "stopped" : "was stopped already";
    };
    const details = { force: options.force ?? false };
    await forEach(session, names, "stop", stopOne, { record: recordedAnyway, details });
  });
}

/** `op-dbus container restart` */
export async function restart(
  names: readonly string[],
  options: StopOptions & { readonly wait?: boolean },
): Promise<void> {
  await runCommand(options, async (session) => {
    const timeoutSeconds = wholeNumber("--timeout", options.timeout, 1, 3600);
    await forEach(session, names, "restart", async (name) => {
      // what cannot be started again must not be stopped
      await readRecord(session.host, name);
      await stopContainer(session.host, name, { timeoutSeconds });
      await startContainer(session.host, name);
      return options.wait ? waitForBoot(session.host, name) : "restarted";
    });
  });
}

async function requireRunning({ host }: Session, name: string): Promise<void> {
  await requirePool(host);
  await requireContainer(host, checkContainerName(name));
  if ((await runningContainers(host)).has(name)) return;
  throw new UserError(`${name} is not running`, { hint: `op-dbus container start ${name}` });
}

/** `op-dbus container exec`: the exit code is that of the command. */
export async function exec(name: string, command: readonly string[], options: CommonOptions): Promise<void> {
  await runCommand(options, async (session) => {
    const words = command[0] === "--" ? command.slice(1) : command;
    if (words.length === 0) {
      throw new UserError("No command was given", {
        hint: `op-dbus container exec ${name} -- bash`,
        exitCode: EXIT.usage,
      });
    }
    await requireRunning(session, name);
    process.exitCode = await session.host.interactive(attachArgv(name, words));
  });
}

/** `op-dbus container console` */
export async function openConsole(name: string, options: CommonOptions): Promise<void> {
  await runCommand(options, async (session) => {
    await requireRunning(session, name);
    process.exitCode = await session.host.interactive(["lxc-console", "--name", name, "--tty", "0"]);
  });
}

interface LogsOptions extends CommonOptions {
  readonly follow?: boolean;
  readonly lines: string;
}

/** `op-dbus container logs`: the guest's journal while it runs, else what its unit said. */
export async function logs(name: string, options: LogsOptions): Promise<void> {
  await runCommand(options, async ({ host, json }) => {
    await requirePool(host);
    await requireContainer(host, checkContainerName(name));
    const lines = String(wholeNumber("--lines", options.lines));
    const journal = [
      "journalctl",
      "--no-pager",
      `--lines=${lines}`,
      ...(options.follow ? ["--follow"] : []),
      ...(json ? ["--output=json"] : []),
    ] as const;
    const running = (await runningContainers(host)).has(name);
    process.exitCode = await host.interactive(
      running ? attachArgv(name, journal) : [...journal, "--unit", unitOf(name)],
    );
  });
}

/** `op-dbus container destroy` */
export async function destroy(
  names: readonly string[],
  options: CommonOptions & { readonly force?: boolean; readonly yes?: boolean },
): Promise<void> {
  await runCommand(options, async (session) => {
    const { host } = session;
    for (const name of names) checkContainerName(name);
    const snapshots = (await Promise.all(names.map((name) => snapshotNames(host, name)))).flat().length;
    const count = snapshots === 1 ? "snapshot" : `${snapshots} snapshots`;
    const also = snapshots === 0 ? "" : `, with ${names.length === 1 ? "its" : "their"} ${count}`;
    await confirm(session, {
      question: `Remove ${names.join(", ")} and all data for good${also}?`,
      yes: options.yes,
    });
    const destroyOne = async (name: string) => {
      await destroyContainer(host, name, options.force ?? false);
      return "destroyed";
    };
    const details = { force: options.force ?? false };
    await forEach(session, names, "destroy", destroyOne, { record: recordedAnyway, details });
  });
}
