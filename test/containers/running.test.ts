import { expect, test } from "vitest";
import { isSocketTaken, runningContainers } from "../../src/containers/running.ts";
import { memoryHost } from "../memory-host.ts";
import type { Entry } from "../memory-tree.ts";
import { readFixture } from "../fixture.ts";

interface Process {
  readonly cmdline?: string;
  readonly uids?: readonly number[];
  readonly exe?: string;
  /** Owner of /proc/PID. */
  readonly owner?: number;
}

/** A host on which the sockets of web-01 and db are listed, and this process runs. */
function machine({ cmdline = "", uids = [0, 0, 0, 0], exe = "/usr/bin/lxc-start", owner = 0 }: Process) {
  return memoryHost({
    files: {
      "/proc/net/unix": readFixture("proc/net-unix-lxc.txt"),
      "/proc/90": { uid: owner },
      "/proc/90/cmdline": cmdline,
      "/proc/90/status": `Name:\tx\nUid:\t${uids.join("\t")}\nGid:\t0\t0\t0\t0\n`,
      "/proc/90/exe": { target: exe },
      "/usr/bin/lxc-start": "",
      "/usr/bin/sudo": { text: "", mode: 0o4755 } satisfies Entry,
    },
  });
}

const TITLE = "[lxc monitor] /var/lib/lxc web-01\0";

test.each([
  "/usr/bin/lxc-start\0-F\0-n\0web-01\0",
  "/usr/bin/lxc-start\0-Fn\0web-01\0",
  "lxc-start\0-nweb-01\0-F\0",
  "lxc-start\0-Fnweb-01\0",
  "lxc-start\0--name=web-01\0-F\0",
  "lxc-start\0-F\0web-01\0",
  "lxc-execute\0--name\0web-01\0--\0sleep\0",
  TITLE,
])("a process of root that is called %j is a monitor", async (cmdline) => {
  expect([...(await runningContainers(machine({ cmdline })))]).toEqual(["web-01"]);
});

test("also when its program was replaced by an upgrade meanwhile", async () => {
  const host = machine({ cmdline: TITLE, exe: "/usr/bin/lxc-start (deleted)" });
  expect([...(await runningContainers(host))]).toEqual(["web-01"]);
});

test.each<[string, Process]>([
  ["a monitor of a container elsewhere", { cmdline: "[lxc monitor] /srv/lxc web-01\0" }],
  ["a monitor of a container without a socket", { cmdline: "lxc-start\0-n\0half\0" }],
  ["a program that only has the name", { cmdline: "sh\0-c\0lxc-start -n web-01\0" }],
  ["another user's process", { cmdline: TITLE, uids: [1000, 1000, 1000, 1000], owner: 1000 }],
  ["one that hides its owner", { cmdline: TITLE, uids: [1000, 1000, 1000, 1000] }],
  ["the root of a user namespace", { cmdline: TITLE, uids: [100000, 100000, 100000, 100000], owner: 100000 }],
  ["a set-uid program that another user started", { cmdline: TITLE, uids: [1000, 0, 0, 0] }],
  ["a set-uid program that made itself root", { cmdline: TITLE, exe: "/usr/bin/sudo" }],
  ["the same, replaced meanwhile", { cmdline: TITLE, exe: "/usr/bin/sudo (deleted)" }],
])("%s is none", async (_, process) => {
  expect(await runningContainers(machine(process))).toEqual(new Set());
});

test("a line that somebody wrote into the list by the name of a socket makes nothing run, and nothing stop", async () => {
  const host = machine({ cmdline: TITLE });
  const listed = (await host.readText("/proc/net/unix")) ?? "";
  const forged =
    "0 0 0 00010000 0 0 31733 @/var/lib/lxc/app/command\n0 0 0 00010000 0 0 31733 @/var/lib/lxc/zz/command\n";
  host.tree.put("/proc/net/unix", { text: `${listed}0: 0 0 00010000 0001 01 99 @x\n${forged}` });
  expect([...(await runningContainers(host))]).toEqual(["web-01"]);
});

test("a process that ended while it was looked at counts as none", async () => {
  const host = machine({ cmdline: TITLE });
  host.tree.drop("/proc/90/status");
  expect(await runningContainers(host)).toEqual(new Set());
});

test("nothing runs where the kernel has no such list", async () => {
  expect(await runningContainers(memoryHost())).toEqual(new Set());
});

test("says whether the name of a socket is taken, by whomever", async () => {
  const host = machine({});
  expect(await isSocketTaken(host, "db")).toBe(true);
  expect(await isSocketTaken(host, "elsewhere")).toBe(false);
  expect(await isSocketTaken(host, "deep")).toBe(false);
});
