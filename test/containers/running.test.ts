import { expect, test } from "vitest";
import { findSocketHolders, runningContainers } from "../../src/containers/running.ts";
import { memoryHost } from "../../src/host/memory-host.ts";
import type { Entry } from "../../src/host/memory-tree.ts";
import { readFixture } from "../fixture.ts";

const status = (...uids: number[]) => `Name:\tlxc-start\nUid:\t${uids.join("\t")}\nGid:\t0\t0\t0\t0\n`;
const socket = (inode: number): Entry => ({ target: `socket:[${inode}]` });

function machine(files: Record<string, string | Entry>) {
  return memoryHost({ files: { "/proc/net/unix": readFixture("proc/net-unix-lxc.txt"), "/proc/2/fd/": "", ...files } });
}

test("names the containers whose command socket root holds, each once, and no others", async () => {
  const host = machine({
    "/proc/90/status": status(0, 0, 0, 0),
    "/proc/90/fd/3": socket(31733),
    // a connection to a command socket has its name, too
    "/proc/91/status": status(0, 0, 0, 0),
    "/proc/91/fd/7": socket(31755),
    "/proc/92/status": status(0, 0, 0, 0),
    "/proc/92/fd/0": { target: "/dev/null" },
    "/proc/92/fd/4": socket(31901),
  });
  expect([...(await runningContainers(host))].toSorted()).toEqual(["db", "web-01"]);
});

test.each([
  ["another user's process", [1000, 1000, 1000, 1000], 1000],
  ["a set-uid program that another user started", [1000, 0, 0, 0], 1000],
  ["the root of a user namespace", [100000, 100000, 100000, 100000], 100000],
])("does not believe %s", async (_, uids, uid) => {
  const host = machine({ "/proc/90/status": status(...uids), "/proc/90/fd/3": socket(31733) });
  expect(await runningContainers(host)).toEqual(new Set());
  expect(await findSocketHolders(host, "anybody")).toEqual([{ container: "web-01", pid: 90, uid }]);
});

test("a process that ended while it was looked at counts as none", async () => {
  const host = machine({ "/proc/90/fd/3": socket(31733) });
  expect(await runningContainers(host)).toEqual(new Set());
});

test("nothing runs where the kernel has no such list", async () => {
  expect(await runningContainers(memoryHost())).toEqual(new Set());
});
