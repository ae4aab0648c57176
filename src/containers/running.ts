import type { HostView } from "../host/host.ts";
import { LXC_PATH } from "./lxc-link.ts";

/** A process that listens on the command socket of a container. */
export interface SocketHolder {
  readonly container: string;
  readonly pid: number;
  /** 0 for LXC's own monitor. */
  readonly uid: number;
}

/** Names of the containers whose LXC monitor is alive, whoever started them. */
export async function runningContainers(host: HostView): Promise<Set<string>> {
  return new Set((await findSocketHolders(host, "root")).map(({ container }) => container));
}

/**
 * Who listens on LXC's command sockets: root's processes, or anybody's. The kernel's list of sockets (what
 * lxc-ls looks at) says which containers have one, without a process being
 * started; but their names are anybody's to take, so a container only runs
 * when a process of root holds its socket.
 */
export async function findSocketHolders(host: HostView, of: "root" | "anybody"): Promise<SocketHolder[]> {
  const sockets = await listCommandSockets(host);
  const holders: SocketHolder[] = [];
  if (sockets.size === 0) return holders;
  const unheld = new Set(sockets.values());
  for (const pid of await listProcesses(host)) {
    // guests' processes are most of a host's, and quickly told by this; what it says of root is to be seen
    if (of === "root" && (await host.stat(`/proc/${pid}`))?.uid !== 0) continue;
    const files = (await host.list(`/proc/${pid}/fd`)) ?? [];
    const uid = files.length === 0 ? undefined : await userOf(host, pid);
    if (uid === undefined || (of === "root" && uid !== 0)) continue;
    for (const file of files) {
      const container = sockets.get((await host.readLink(`/proc/${pid}/fd/${file}`)) ?? "");
      if (container === undefined) continue;
      holders.push({ container, pid, uid });
      if (uid === 0) unheld.delete(container);
    }
    if (unheld.size === 0) break;
  }
  return holders;
}

// the flag of a listening socket, its inode, and its abstract name
const COMMAND_SOCKET = new RegExp(
  String.raw`^(?:\S+ +){3}00010000 (?:\S+ +){2}(\d+) @${LXC_PATH}/([^/\s]+)/command$`,
  "gm",
);

/** The sockets by what /proc/PID/fd calls them, and the container of each. */
async function listCommandSockets(host: HostView): Promise<Map<string, string>> {
  const text = (await host.readText("/proc/net/unix")) ?? "";
  return new Map([...text.matchAll(COMMAND_SOCKET)].map(([, inode, name]) => [`socket:[${inode}]`, name ?? ""]));
}

/** Newest first: monitors come after the system's own services. */
async function listProcesses(host: HostView): Promise<number[]> {
  const names = (await host.list("/proc")) ?? [];
  return names
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .toSorted((one, other) => other - one);
}

/**
 * The user a process runs as: 0 only when it is root in every respect, which a
 * set-uid program that somebody started is not. (The owner of /proc/PID itself
 * is root also for a process of anybody that made itself undumpable, proc(5).)
 */
async function userOf(host: HostView, pid: number): Promise<number | undefined> {
  const ids = /^Uid:\s+(.+)$/m.exec((await host.readText(`/proc/${pid}/status`)) ?? "")?.[1];
  if (ids === undefined) return undefined;
  return Math.max(...ids.split(/\s+/).map(Number));
}
