import { basename } from "node:path";
import type { HostView } from "../host/host.ts";
import { LXC_PATH } from "./lxc-link.ts";

/**
 * Names of the containers whose LXC monitor is alive, whoever started them.
 *
 * Each monitor has a command socket in the kernel's list (what lxc-ls looks
 * at), so that one file says which can run at all. But such a name is anybody's
 * to take, and anybody can write lines of his own into that list (a name may
 * hold line breaks). So a container runs when there is its monitor: a process
 * of root, and not one that a user of the host can start as root.
 */
export async function runningContainers(host: HostView): Promise<Set<string>> {
  const running = new Set<string>();
  const listed = await listSocketNames(host);
  for (const pid of listed.size === 0 ? [] : await listProcesses(host)) {
    // guests' processes are most of a host's, and quickly told by this; what it says of root is seen below
    if ((await host.stat(`/proc/${pid}`))?.uid !== 0) continue;
    const name = monitored(await readWords(host, `/proc/${pid}/cmdline`), listed);
    if (name !== undefined && (await isRootsOwn(host, pid))) running.add(name);
    if (running.size === listed.size) break;
  }
  return running;
}

/** Whether the name of a container's command socket is taken, by its monitor or by somebody else. */
export async function isSocketTaken(host: HostView, name: string): Promise<boolean> {
  return (await listSocketNames(host)).has(name);
}

async function listSocketNames(host: HostView): Promise<Set<string>> {
  const sockets = (await host.readText("/proc/net/unix")) ?? "";
  const names = sockets.matchAll(new RegExp(` @${LXC_PATH}/([^/\\s]+)/command$`, "gm"));
  return new Set([...names].map(([, name]) => name ?? ""));
}

/** Newest first: monitors come after the system's own services. */
async function listProcesses(host: HostView): Promise<number[]> {
  const names = (await host.list("/proc")) ?? [];
  return names
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .toSorted((one, other) => other - one);
}

const IN_BACKGROUND = new RegExp(`^\\[lxc monitor\\] ${LXC_PATH} (\\S+)$`);
const IN_FOREGROUND = new Set(["lxc-start", "lxc-execute"]);

/** Which of these containers a process of this command line is the monitor of. */
function monitored([command = "", ...words]: readonly string[], names: ReadonlySet<string>): string | undefined {
  // liblxc calls its daemons so, whichever program it is part of
  const title = IN_BACKGROUND.exec(command)?.[1];
  if (title !== undefined) return names.has(title) ? title : undefined;
  if (!IN_FOREGROUND.has(basename(command))) return undefined;
  // -n NAME, -nNAME, -Fn NAME, --name NAME, --name=NAME, or NAME alone
  return words.map((word) => word.replace(/^(-\w*?n|--name=)(?=.)/, "")).find((word) => names.has(word));
}

/** Whether a process is root's in every respect, and of a program that is not set-uid: those, anybody can start. */
async function isRootsOwn(host: HostView, pid: number): Promise<boolean> {
  // the owner of /proc/PID is root also for anybody's process that made itself undumpable (proc(5))
  const ids = /^Uid:\s+(.+)$/m.exec((await host.readText(`/proc/${pid}/status`)) ?? "")?.[1];
  if (ids === undefined || !ids.split(/\s+/).every((id) => id === "0")) return false;
  const program = ((await host.readLink(`/proc/${pid}/exe`)) ?? "").replace(/ \(deleted\)$/, "");
  return (((await host.stat(program))?.mode ?? 0) & 0o4000) === 0;
}

async function readWords(host: HostView, path: string): Promise<string[]> {
  return ((await host.readText(path)) ?? "").split("\0");
}
