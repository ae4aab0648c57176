import { expect, test } from "vitest";
import { runningContainers } from "../../src/containers/running.ts";
import { memoryHost } from "../../src/host/memory-host.ts";
import { readFixture } from "../fixture.ts";

test("reads the names from LXC's command sockets, each once, and no others", async () => {
  const host = memoryHost({ files: { "/proc/net/unix": readFixture("proc/net-unix-lxc.txt") } });
  expect([...(await runningContainers(host))]).toEqual(["web-01", "db"]);
});

test("nothing runs where the kernel has no such list", async () => {
  expect(await runningContainers(memoryHost())).toEqual(new Set());
});
