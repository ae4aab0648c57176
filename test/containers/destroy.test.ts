import { expect, test } from "vitest";
import { destroyContainer } from "../../src/containers/destroy.ts";
import { runningContainers } from "../../src/containers/running.ts";
import { startContainer } from "../../src/containers/start.ts";
import { setOnboot, startsOnBoot, unitOf } from "../../src/containers/unit.ts";
import { CONTAINERS } from "../../src/paths.ts";
import { Interrupted, UserError } from "../../src/host/errors.ts";
import { interruptedAt } from "../interrupted-at.ts";
import { listSocket } from "../debian-host.ts";
import { installedHost } from "../installed-host.ts";
import { hostWith } from "./host-with.ts";

test("one whose socket somebody else took can be destroyed", async () => {
  const host = await hostWith("web-01");
  listSocket(host.tree, "web-01", true);
  await destroyContainer(host, "web-01", false);
  expect(await host.list(CONTAINERS)).toEqual([]);
});

test("destroys all of it: data, link, start with the host", async () => {
  const host = await hostWith("web-01");
  await setOnboot(host, "web-01", true);
  host.tree.put(`${CONTAINERS}/web-01/rootfs/var/lib/machines`, { inode: 256 });
  await destroyContainer(host, "web-01", false);
  expect(await host.list(CONTAINERS)).toEqual([]);
  expect(await host.list("/var/lib/lxc")).toEqual([]);
  expect((await host.probe(["systemctl", "is-enabled", unitOf("web-01")])).stdout).toBe("disabled\n");
});

test("what somebody mounted in its folder stops a destroy before anything is done", async () => {
  const host = await hostWith("web-01");
  const mounts = host.tree.get("/proc/self/mountinfo")?.text ?? "";
  host.tree.put("/proc/self/mountinfo", {
    text: `${mounts}99 27 0:60 /data ${CONTAINERS}/web-01/data rw shared:99 - ext4 /dev/sdc rw\n`,
  });
  await expect(destroyContainer(host, "web-01", true)).rejects.toMatchObject({
    message: expect.stringContaining(`something is mounted in it, at ${CONTAINERS}/web-01/data`),
  });
  expect(host.changes).toEqual([]);
});

test("one that did not start leaves no failed unit when it is destroyed", async () => {
  const host = await hostWith("web-01");
  host.script("systemctl is-failed", "failed\n");
  host.script("systemctl reset-failed", "");
  await destroyContainer(host, "web-01", false);
  expect(host.changes).toContain("run systemctl reset-failed lxc@web-01.service");
});

test("one that runs is destroyed only by force", async () => {
  const host = await hostWith("web-01");
  await startContainer(host, "web-01");
  host.forget();
  await expect(destroyContainer(host, "web-01", false)).rejects.toThrow("web-01 is running");
  expect(host.changes).toEqual([]);
  await destroyContainer(host, "web-01", true);
  expect(host.changes[0]).toBe("run lxc-stop --name web-01 --kill");
  expect(await runningContainers(host)).toEqual(new Set());
  expect(await host.list(CONTAINERS)).toEqual([]);
});

/** A host on which somebody starts the container while it is taken away, so many times. */
async function hostWithRival(times: number) {
  const host = await hostWith("web-01");
  await setOnboot(host, "web-01", true);
  let left = times;
  host.script("systemctl disable", async ({ tree }) => {
    tree.drop("/etc/systemd/system/multi-user.target.wants/lxc@web-01.service");
    if (left-- > 0) await host.run(["systemctl", "start", "lxc@web-01.service"]);
  });
  return host;
}

test("one that is started while it is destroyed stays whole, unless force was given", async () => {
  const host = await hostWithRival(1);
  await expect(destroyContainer(host, "web-01", false)).rejects.toThrow("web-01 is running");
  expect(await host.list(CONTAINERS)).toEqual(["web-01"]);
  expect(await host.readLink("/var/lib/lxc/web-01")).toBe(`${CONTAINERS}/web-01`);
  expect(await startsOnBoot(host, "web-01")).toBe(true);
  expect((await runningContainers(host)).has("web-01")).toBe(true);
});

test.each([1, 2])("by force it goes, also when it was started %i times meanwhile", async (times) => {
  const host = await hostWithRival(times);
  await destroyContainer(host, "web-01", true);
  expect(await host.list(CONTAINERS)).toEqual([]);
  expect(await host.list("/var/lib/lxc")).toEqual([]);
  expect(await runningContainers(host)).toEqual(new Set());
});

test("an interruption at any moment leaves all of it, or nothing", async () => {
  for (let cut = 0, destroyed = false; !destroyed; cut++) {
    const host = await hostWith("web-01");
    await setOnboot(host, "web-01", true);
    await startContainer(host, "web-01");
    destroyed = await destroyContainer(interruptedAt(host, cut), "web-01", true).then(
      () => true,
      (error: unknown) => {
        expect(error).toBeInstanceOf(Interrupted);
        return false;
      },
    );
    const kept = destroyed ? [] : ["web-01"];
    expect(await host.list(CONTAINERS), `cut at ${cut}`).toEqual(kept);
    expect(await host.list("/var/lib/lxc"), `cut at ${cut}`).toEqual(kept);
    expect(await startsOnBoot(host, "web-01"), `cut at ${cut}`).toBe(!destroyed);
  }
});

test("a disk that turns read-only under a destroy costs a container nothing, not even its start with the host", async () => {
  const host = await hostWith("web-01");
  await setOnboot(host, "web-01", true);
  const rename = () => Promise.reject(new UserError("the file system is read-only"));
  await expect(destroyContainer({ ...host, rename }, "web-01", true)).rejects.toThrow("read-only");
  expect(await host.readLink("/var/lib/lxc/web-01")).toBe(`${CONTAINERS}/web-01`);
  expect(await startsOnBoot(host, "web-01")).toBe(true);
});

test("one that is started without end is told, and left whole", async () => {
  const host = await hostWithRival(99);
  await expect(destroyContainer(host, "web-01", true)).rejects.toThrow("started again and again");
  expect(await host.list(CONTAINERS)).toEqual(["web-01"]);
});

test.each([
  ["only the link is left", `${CONTAINERS}/web-01`],
  ["only the folder is left", "/var/lib/lxc/web-01"],
  ["the record is gone", `${CONTAINERS}/web-01/container.json`],
  ["the root file system is gone", `${CONTAINERS}/web-01/rootfs`],
])("removes one of which %s", async (_, gone) => {
  const host = await hostWith("web-01");
  host.tree.drop(gone);
  await destroyContainer(host, "web-01", false);
  expect(await host.list(CONTAINERS)).toEqual([]);
  expect(await host.list("/var/lib/lxc")).toEqual([]);
});

test("a destroy that fails is finished by the next, whoever calls it", async () => {
  const host = await hostWith("web-01");
  host.script("btrfs subvolume delete", 1);
  await expect(destroyContainer(host, "web-01", false)).rejects.toThrow(/btrfs subvolume delete/);
  host.script("btrfs subvolume delete", ({ argv, tree }) => tree.drop(argv.at(-1) ?? ""));
  // the process that failed is gone by then
  host.tree.put(`/proc/${process.pid}/stat`, {
    text: host.tree.get(`/proc/${process.pid}/stat`)?.text?.replace("4242", "4343") ?? "",
  });
  await expect(destroyContainer(host, "web-01", false)).rejects.toThrow("There is no container web-01");
  expect(await host.list(CONTAINERS)).toEqual([]);
});

test("what LXC has and we have not is not ours to remove", async () => {
  const host = installedHost({ files: { "/var/lib/lxc/theirs/config": "x" } });
  await expect(destroyContainer(host, "theirs", true)).rejects.toThrow("There is no container theirs");
  expect(await host.readText("/var/lib/lxc/theirs/config")).toBe("x");
});
