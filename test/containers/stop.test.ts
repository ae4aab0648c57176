import { expect, test } from "vitest";
import { startContainer } from "../../src/containers/start.ts";
import { stopContainer } from "../../src/containers/stop.ts";
import { setRunning } from "../debian-host.ts";
import { hostWith } from "./host-with.ts";

test("stops once, and says whether it had to", async () => {
  const host = await hostWith("web-01");
  await startContainer(host, "web-01");
  host.forget();
  expect(await stopContainer(host, "web-01")).toBe(true);
  expect(await stopContainer(host, "web-01")).toBe(false);
  expect(host.changes).toEqual([
    "run lxc-stop --name web-01 --nokill --timeout 60",
    "run systemctl stop lxc@web-01.service",
  ]);
});

test.each([{}, { force: true }])("one that ends by itself meanwhile is stopped (%o)", async (options) => {
  const host = await hostWith("web-01");
  await startContainer(host, "web-01");
  host.script("lxc-stop --name", ({ tree }) => {
    setRunning(tree, "web-01", false);
    return { exitCode: 2, stderr: "lxc-stop: web-01: Not running" };
  });
  expect(await stopContainer(host, "web-01", options)).toBe(true);
});

test.each([
  [{}, "web-01 did not halt when it was asked to", "op-dbus container stop web-01 --force"],
  [{ force: true }, "Unable to kill web-01: `lxc-stop", "systemctl kill --signal=KILL lxc@web-01.service"],
])("a monitor that does not answer is told, and what ends it (%o)", async (options, message, hint) => {
  const host = await hostWith("web-01");
  await startContainer(host, "web-01");
  host.script("lxc-stop", ({ options: { timeoutMs } }) => ({ exitCode: timeoutMs === undefined ? 0 : 124 }));
  host.script("lxc-stop --name", ({ options: { timeoutMs } }) => ({ exitCode: timeoutMs === undefined ? 0 : 124 }));
  await expect(stopContainer(host, "web-01", options)).rejects.toMatchObject({
    message: expect.stringContaining(message),
    hint: expect.stringContaining(hint),
  });
});
