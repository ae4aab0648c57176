import type { HostView } from "../host/host.ts";
import { LXC_PATH } from "./record.ts";

/**
 * Names of the containers whose LXC monitor is alive, whoever started them:
 * each has a command socket in the kernel's list (what lxc-ls looks at, too),
 * so that one file tells of all of them without a process.
 */
export async function runningContainers(host: HostView): Promise<Set<string>> {
  const sockets = (await host.readText("/proc/net/unix")) ?? "";
  const names = sockets.matchAll(new RegExp(` @${LXC_PATH}/([^/\\s]+)/command$`, "gm"));
  return new Set([...names].map(([, name]) => name ?? ""));
}
