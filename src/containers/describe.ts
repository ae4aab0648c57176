import type { HostView } from "../host/host.ts";
import { UserError } from "../host/errors.ts";
import { join } from "node:path";
import { rootfsOf } from "./lxc-config.ts";
import { containerFolder, type ContainerRecord, listContainers, readRecord } from "./record.ts";
import { runningContainers } from "./running.ts";

/** One line of a list of containers: a whole record, or why it cannot be read. */
export type ContainerSummary =
  | { readonly name: string; readonly running: boolean; readonly record: ContainerRecord }
  | { readonly name: string; readonly running: boolean; readonly broken: string; readonly mend: string };

/** All containers of the pool, by name; one that is broken does not hide the others. */
export async function describeContainers(host: HostView): Promise<ContainerSummary[]> {
  const names = await listContainers(host);
  const alive = await runningContainers(host);
  const found: ContainerSummary[] = [];
  for (const name of names) {
    const running = alive.has(name);
    try {
      const record = await readRecord(host, name);
      await readConfig(host, name);
      found.push({ name, running, record });
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      found.push({ name, running, broken: error.message, mend: error.hint ?? "op-dbus container list" });
    }
  }
  return found;
}

/**
 * The text of a container's configuration.
 * @throws {UserError} see `checkConfig`
 */
export async function readConfig(host: HostView, name: string): Promise<string> {
  const path = join(containerFolder(name), "config");
  return checkConfig((await host.readText(path)) ?? "", path, name);
}

/**
 * Gives back the text of a configuration.
 * @throws {UserError} naming file and line when LXC could not read it, or would start another root file system
 */
export function checkConfig(text: string, path: string, name: string): string {
  const lines = text.split("\n");
  const bad = lines.findIndex((line) => !/^\s*(#.*|lxc\.[^\s=]+\s*=.*)?$/.test(line));
  const hint = `edit ${path}; man lxc.container.conf explains its lines`;
  if (bad !== -1) throw new UserError(`${path}, line ${bad + 1} is no line of LXC's: ${lines[bad]?.trim()}`, { hint });
  const rootfs = lines
    .map((line) => /^\s*lxc\.rootfs\.path\s*=\s*(\S+)/.exec(line)?.[1])
    .findLast((found) => found !== undefined);
  if (rootfs !== rootfsOf(name)) {
    throw new UserError(`${path} does not name the container's root file system but ${rootfs ?? "none"}`, { hint });
  }
  return text;
}
