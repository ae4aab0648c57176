import { readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { waitUntil } from "./processes.ts";

/** Ends whatever still runs in a node's cgroup and removes it with all that systemd made below it. */
export async function removeCgroup(cgroup: string): Promise<void> {
  await waitUntil(
    () => {
      const left = listTree(cgroup);
      // The group is ours alone, so all in it may go; version 1 has no such file, but the same processes.
      if (left.some((path) => hasProcesses(path))) killAll(cgroup);
      else for (const path of left) tolerate(() => rmdirSync(path));
      return listTree(cgroup).length === 0;
    },
    { timeoutMs: 10_000, what: `the cgroup ${cgroup} to be empty` },
  );
}

/** Moves a process out of a node's group, back to the one this harness is in. */
export function leaveCgroup(pid: number, mount: string, ownPath: string): void {
  tolerate(() => writeFileSync(join(mount, ownPath, "cgroup.procs"), `${pid}`));
}

/** This process's own group in the hierarchy mounted for `controllers` ("" for cgroup2), below its mount. */
export function findOwnCgroup(controllers: "" | "name=systemd"): string {
  for (const line of readFileSync("/proc/self/cgroup", "utf8").split("\n")) {
    const [, names, ...path] = line.split(":");
    if (names === controllers) return path.join(":");
  }
  return "/";
}

/** Host pids of the processes in one group; empty when there is no such group. */
export function listProcesses(cgroup: string): number[] {
  try {
    const pids = readFileSync(join(cgroup, "cgroup.procs"), "utf8").split("\n");
    return pids.filter((pid) => pid !== "").map(Number);
  } catch {
    return [];
  }
}

function hasProcesses(cgroup: string): boolean {
  return listProcesses(cgroup).length > 0;
}

/** The group and all below it, the deepest first. */
function listTree(cgroup: string): string[] {
  try {
    const entries = readdirSync(cgroup, { withFileTypes: true });
    return [
      ...entries.filter((entry) => entry.isDirectory()).flatMap(({ name }) => listTree(join(cgroup, name))),
      cgroup,
    ];
  } catch {
    return [];
  }
}

function killAll(cgroup: string): void {
  tolerate(() => writeFileSync(join(cgroup, "cgroup.kill"), "1"));
}

/** What vanishes while we look at it is as it should be; waitUntil sees to the rest. */
function tolerate(action: () => void): void {
  try {
    action();
  } catch {
    // See above.
  }
}
