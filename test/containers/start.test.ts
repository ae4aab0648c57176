import { expect, test } from "vitest";
import { startContainer, waitForBoot } from "../../src/containers/start.ts";
import { listSocket, setRunning } from "../debian-host.ts";
import { hostWith } from "./host-with.ts";

test("starts once, and says whether it had to", async () => {
  const host = await hostWith("web-01");
  expect(await startContainer(host, "web-01")).toBe(true);
  expect(await startContainer(host, "web-01")).toBe(false);
  expect(host.changes).toEqual(["run systemctl start lxc@web-01.service"]);
});

test("one whose socket somebody else took is not running, and says what keeps it from starting", async () => {
  const host = await hostWith("web-01");
  listSocket(host.tree, "web-01", true);
  await expect(startContainer(host, "web-01")).rejects.toMatchObject({
    message: "Unable to start web-01: a process that is not LXC's has the name of its monitor's socket",
    hint: expect.stringContaining("ss -xlp | grep -F /var/lib/lxc/web-01/command"),
  });
  expect(host.changes).toEqual([]);
});

const LOOK_CLOSER = "journalctl -u lxc@web-01.service; lxc-start -F -n web-01 -l DEBUG -o /dev/stderr";

test.each([
  ["what its unit said", "lxc-start: no such profile\n", "\n  lxc-start: no such profile", LOOK_CLOSER],
  [
    "the package that LXC wants",
    "apparmor_prepare: Cannot use generated profile: apparmor_parser not available\n",
    "\n  apparmor_prepare: Cannot use generated profile: apparmor_parser not available",
    "apt-get install --no-install-recommends apparmor",
  ],
  ["no reason where there is none", "", " LXC did not say why", LOOK_CLOSER],
])("one that does not come up is told with %s", async (_, journal, why, hint) => {
  const host = await hostWith("web-01");
  host.script("systemctl start", "");
  host.script("journalctl", journal);
  const told = { message: `Unable to start web-01:${why}`, hint };
  await expect(startContainer(host, "web-01")).rejects.toMatchObject(told);
});

test("waits until its systemd has started everything, or some of it failed", async () => {
  const host = await hostWith("web-01");
  await startContainer(host, "web-01");
  const answers = ["offline", "starting", "degraded"];
  host.script("lxc-attach", () => ({ exitCode: 1, stdout: `${answers.shift()}\n` }));
  expect(await waitForBoot(host, "web-01")).toBe("degraded");
  expect(answers).toEqual([]);
});

test("one that ends while it starts is told", async () => {
  const host = await hostWith("web-01");
  await startContainer(host, "web-01");
  host.script("lxc-attach", ({ tree }) => {
    setRunning(tree, "web-01", false);
    return 1;
  });
  await expect(waitForBoot(host, "web-01")).rejects.toThrow("web-01 ended while it started");
});

test("a guest that does not answer is asked with a time limit each time", async () => {
  const host = await hostWith("web-01");
  await startContainer(host, "web-01");
  const limits: (number | undefined)[] = [];
  host.script("lxc-attach", ({ options }) => {
    limits.push(options.timeoutMs);
    return limits.length < 2 ? { exitCode: 124 } : "running\n";
  });
  await waitForBoot(host, "web-01");
  expect(limits).toEqual([10_000, 10_000]);
});
