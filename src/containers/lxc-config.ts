import { basename, join } from "node:path";
import { ID_RANGE_SIZE } from "../config/limits.ts";
import { lxcLink } from "./lxc-link.ts";
import { containerFolder, type ContainerRecord } from "./record.ts";

/** What of the host and of the tree the configuration depends on. */
export interface HostFacts {
  /** First id of root's subordinate range. */
  readonly idRangeStart: number;
  /** Controllers of the host's cgroup2, such as `cpu` and `memory`. */
  readonly controllers: readonly string[];
  /** What the tree's init takes for a wish to halt in good order. */
  readonly haltSignal: "SIGRTMIN+3" | "SIGUSR1";
}

/**
 * What makes an init halt in good order: systemd(1) has its own signal, and
 * the kernel drops for busybox's, which Alpine has, what that does not handle
 * (busybox, init/init.c: SIGUSR1 is halt).
 * @param init where /sbin/init of the tree leads; undefined where it is no link
 */
export function haltSignalOf(init: string | undefined): HostFacts["haltSignal"] {
  return init !== undefined && basename(init) === "busybox" ? "SIGUSR1" : "SIGRTMIN+3";
}

/** The limits of a container, and the controller that enforces each. */
export function limits(record: Pick<ContainerRecord, "cores" | "memoryMiB" | "swapMiB">) {
  return [
    { name: "cores", controller: "cpu", key: "lxc.cgroup2.cpu.max", value: `${record.cores * 100_000} 100000` },
    { name: "memory", controller: "memory", key: "lxc.cgroup2.memory.max", value: `${record.memoryMiB}M` },
    { name: "swap", controller: "memory", key: "lxc.cgroup2.memory.swap.max", value: `${record.swapMiB}M` },
  ];
}

/** Limits that need a cgroup controller this host does not have. */
export function limitsWithoutController(
  record: Parameters<typeof limits>[0],
  controllers: readonly string[],
): string[] {
  return limits(record)
    .filter(({ controller }) => !controllers.includes(controller))
    .map(({ name }) => name);
}

// a script of its own, so that what LXC adds to the command goes nowhere
function destroyHook(name: string): string {
  const isOurs = `test "$LXC_CONFIG_FILE" = ${lxcLink(name)}/config`;
  return `lxc.hook.destroy = sh -c '${isOurs} && exec op-dbus container destroy --yes -- ${name}'`;
}

/** How LXC is told a container's root file system. */
export function rootfsOf(name: string): string {
  return `dir:${join(containerFolder(name), "rootfs")}`;
}

/** Keys travel as one environment string, base64, which the kernel limits to 128 KiB (MAX_ARG_STRLEN, execve(2)). */
export const MOST_KEY_BYTES = 96_000;

/**
 * The text of an LXC configuration (lxc.container.conf(5)).
 * @param sshKeys public keys that the first boot puts into root's authorized_keys
 */
export function lxcConfig(record: ContainerRecord, facts: HostFacts, sshKeys: readonly string[] = []): string {
  const id = `0 ${facts.idRangeStart} ${ID_RANGE_SIZE}`;
  return [
    "# Written by op-dbus at creation. Lines that you add stay.",
    "lxc.include = /usr/share/lxc/config/common.conf",
    "lxc.include = /usr/share/lxc/config/userns.conf",
    // a /sys that can be written is a guest's whose udev thinks that it owns the machine, and fails at it
    "lxc.mount.auto = sys:mixed",
    `lxc.uts.name = ${record.name}`,
    "",
    "# root in the container is nobody on the host; the mapping happens when the root file system is mounted",
    `lxc.idmap = u ${id}`,
    `lxc.idmap = g ${id}`,
    `lxc.rootfs.path = ${rootfsOf(record.name)}`,
    "lxc.rootfs.options = idmap=container",
    "lxc.apparmor.profile = generated",
    "lxc.apparmor.allow_nesting = 1",
    `lxc.signal.halt = ${facts.haltSignal}`,
    "",
    "# lxc-destroy removes nothing by itself, op-dbus all of it; unless it is of a copy, which has these lines too",
    "lxc.rootfs.managed = 0",
    destroyHook(record.name),
    "",
    "# loopback only",
    "lxc.net.0.type = empty",
    "",
    ...limits(record)
      .filter(({ controller }) => facts.controllers.includes(controller))
      .map(({ key, value }) => `${key} = ${value}`),
    ...(sshKeys.length > 0
      ? [`lxc.environment = OPDBUS_AUTHORIZED_KEYS=${Buffer.from(`${sshKeys.join("\n")}\n`).toString("base64")}`]
      : []),
    "",
  ].join("\n");
}

const HOST_NAME = /^(\s*lxc\.uts\.name\s*=\s*)(\S+)\s*$/;
const ROOTFS = /^\s*lxc\.rootfs\.path\s*=\s*(\S+)\s*$/;
const KEYS = /^\s*lxc\.environment\s*=\s*OPDBUS_AUTHORIZED_KEYS=/;
/** What no two containers of a host, or of a network, may have. */
const UNIQUE = /^\s*(lxc\.net\.\d+\.(?:hwaddr|veth\.pair|ipv[46]\.address))\s*=/;

/**
 * A configuration for a container that gets another name: the lines of ours
 * that tell the name are written anew, and all others stay.
 */
export function renamedConfig(text: string, from: string, to: string): string {
  return mapLines(text, (line) => {
    const [, start = "", hostName = ""] = HOST_NAME.exec(line) ?? [];
    // an admin may have made it web-01.example.org
    if (hostName === from || hostName.startsWith(`${from}.`)) return `${start}${to}${hostName.slice(from.length)}`;
    if (line === destroyHook(from)) return destroyHook(to);
    return ROOTFS.exec(line)?.[1] === rootfsOf(from) ? line.replace(rootfsOf(from), rootfsOf(to)) : line;
  });
}

/**
 * A configuration for a clone: the lines that tell the name are written anew,
 * and what no two containers may have is left out.
 * @returns the keys of what was left out, too
 */
export function clonedConfig(text: string, from: string, to: string): { text: string; leftOut: string[] } {
  const leftOut: string[] = [];
  const cloned = mapLines(renamedConfig(text, from, to), (line) => {
    const [, start, hostName = ""] = HOST_NAME.exec(line) ?? [];
    if (start !== undefined) return hostName.split(".")[0] === to ? line : `${start}${to}`;
    const key = UNIQUE.exec(line)?.[1];
    if (key !== undefined) leftOut.push(key);
    return key === undefined ? line : undefined;
  });
  return { text: cloned, leftOut };
}

/** Lines that an admin gave a configuration which name a container's folder; what op-dbus wrote does not count. */
export function linesNaming(text: string, name: string): string[] {
  const folders = [containerFolder(name), lxcLink(name)];
  const ours = new Set([`lxc.rootfs.path = ${rootfsOf(name)}`, destroyHook(name)]);
  return text
    .split("\n")
    .filter((line) => !/^\s*#/.test(line) && !ours.has(line.trim()))
    .filter((line) => folders.some((path) => `${line} `.match(`${path}[/\\s]`)));
}

/** A configuration without the keys for the first start: what an admin took out of a container must not come back. */
export function withoutKeys(text: string): string {
  return mapLines(text, (line) => (KEYS.test(line) ? undefined : line));
}

function mapLines(text: string, change: (line: string) => string | undefined): string {
  return text
    .split("\n")
    .map(change)
    .filter((line) => line !== undefined)
    .join("\n");
}
