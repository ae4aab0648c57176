import { expect, test } from "vitest";
import { cloneContainer, leftOut, withOriginal } from "../../src/containers/clone.ts";
import { describeContainers } from "../../src/containers/describe.ts";
import { containerFolder } from "../../src/containers/record.ts";
import { takeSnapshot } from "../../src/containers/snapshot.ts";
import { startContainer } from "../../src/containers/start.ts";
import { setOnboot, startsOnBoot } from "../../src/containers/unit.ts";
import type { Host } from "../../src/host/host.ts";
import type { MemoryHost } from "../memory-host.ts";
import { CONTAINERS } from "../../src/paths.ts";
import { diesAt } from "../dies-at.ts";
import { interruptedAt } from "../interrupted-at.ts";
import { hostWith } from "./host-with.ts";
import { endProcess } from "./next-process.ts";

const FOLDER = containerFolder("web-01");

/** A container that was started once. */
async function hostWithOriginal(): Promise<MemoryHost> {
  const host = await hostWith("web-01");
  host.tree.put(`${FOLDER}/rootfs/var/lib/opdbus/firstboot-done`, { text: "" });
  host.tree.put(`${FOLDER}/rootfs/etc/machine-id`, { text: "0123\n" });
  host.tree.put(`${FOLDER}/rootfs/etc/hostname`, { text: "web-01\n" });
  host.tree.put(`${FOLDER}/rootfs/etc/ssh/ssh_host_rsa_key`, { text: "secret" });
  host.tree.put(`${FOLDER}/rootfs/root/data`, { text: "one" });
  return host;
}

function edit(host: MemoryHost, file: string, change: (text: string) => string): void {
  const path = `${FOLDER}/${file}`;
  host.tree.put(path, { ...host.tree.get(path), text: change(host.tree.get(path)?.text ?? "") });
}

function clone(host: Host, name = "web-02", snapshot?: string, from = "web-01") {
  return withOriginal(host, from, snapshot, (original) => cloneContainer(host, name, original));
}

test("a clone has the files and limits of its original, and a name, a record and an identity of its own", async () => {
  const host = await hostWithOriginal();
  await setOnboot(host, "web-01", true);
  await takeSnapshot(host, "web-01", { wanted: "one" });
  const before = host.tree.below(FOLDER).map((path) => [path, host.tree.get(path)]);
  const record = await clone(host);
  expect(record).toMatchObject({ name: "web-02", cores: 1, template: "debian-base", clonedFrom: "web-01" });
  expect(record.clonedSnapshot).toBeUndefined();
  const made = containerFolder("web-02");
  expect(await describeContainers(host)).toMatchObject([{ record: { name: "web-01" } }, { record }]);
  expect(await host.list(made)).toEqual(["config", "container.json", "rootfs"]);
  expect(await host.stat(made)).toMatchObject({ mode: 0o700 });
  expect(await host.stat(`${made}/config`)).toMatchObject({ mode: 0o600 });
  expect(await host.readText(`${made}/rootfs/root/data`)).toBe("one");
  expect(await host.readText(`${made}/rootfs/etc/machine-id`)).toBe("");
  expect(await host.stat(`${made}/rootfs/etc/hostname`)).toBeUndefined();
  expect(await host.list(`${made}/rootfs/etc/ssh`)).toEqual([]);
  expect(await host.readText(`${made}/config`)).toContain("lxc.uts.name = web-02\n");
  expect(await host.readLink("/var/lib/lxc/web-02")).toBe(made);
  expect(await startsOnBoot(host, "web-02")).toBe(false);
  expect(host.tree.below(FOLDER).map((path) => [path, host.tree.get(path)])).toEqual(before);
});

test("keys for the first start come along only where it has not been: what was taken out must not come back", async () => {
  const host = await hostWithOriginal();
  await clone(host);
  expect(await host.readText(`${containerFolder("web-02")}/config`)).not.toContain("OPDBUS_AUTHORIZED_KEYS");
  host.tree.drop(`${FOLDER}/rootfs/var/lib/opdbus/firstboot-done`);
  await clone(host, "web-03");
  expect(await host.readText(`${containerFolder("web-03")}/config`)).toContain("OPDBUS_AUTHORIZED_KEYS");
});

test("what no two may have stays behind, and is told; what an admin added comes along", async () => {
  const host = await hostWithOriginal();
  edit(host, "container.json", (text) => text.replace('"network"', '"ip": "10.0.0.5/24",\n  "network"'));
  const own = "lxc.mount.entry = /srv srv none bind 0 0\nlxc.net.0.flags = up\n";
  const unique =
    "lxc.net.0.hwaddr = 00:16:3e:00:00:01\n  lxc.net.0.ipv4.address=10.0.0.5/24\nlxc.net.0.veth.pair = v0\n";
  edit(host, "config", (text) => text + own + unique);
  expect(await withOriginal(host, "web-01", undefined, async (original) => leftOut(original))).toEqual([
    "the address 10.0.0.5/24",
    "lxc.net.0.hwaddr",
    "lxc.net.0.ipv4.address",
    "lxc.net.0.veth.pair",
  ]);
  expect(await clone(host)).not.toHaveProperty("ip");
  const config = (await host.readText(`${containerFolder("web-02")}/config`)) ?? "";
  expect(config).toContain(own);
  expect(config).not.toMatch(/hwaddr|ipv4|veth/);
});

test("from a snapshot it is as that was, whatever became of the container since", async () => {
  const host = await hostWithOriginal();
  await takeSnapshot(host, "web-01", { wanted: "one" });
  host.tree.put(`${FOLDER}/rootfs/root/data`, { text: "two" });
  edit(host, "container.json", (text) => text.replace('"cores": 1', '"cores": 7'));
  const record = await clone(host, "web-02", "one");
  expect(record).toMatchObject({ cores: 1, clonedFrom: "web-01", clonedSnapshot: "one" });
  expect(await host.readText(`${containerFolder("web-02")}/rootfs/root/data`)).toBe("one");
  // one of the clone itself comes from no snapshot
  expect(await clone(host, "web-03", undefined, "web-02")).not.toHaveProperty("clonedSnapshot");
});

test("the clones of a batch come from one moment, and each costs what a new container does", async () => {
  const host = await hostWithOriginal();
  await withOriginal(host, "web-01", undefined, async (original) => {
    await cloneContainer(host, "web-02", original);
    host.tree.put(`${FOLDER}/rootfs/root/data`, { text: "two" });
    host.forget();
    await cloneContainer(host, "web-03", original);
    expect(host.commands).toEqual([expect.stringMatching(/^btrfs subvolume snapshot -- /)]);
  });
  expect(await host.readText(`${containerFolder("web-03")}/rootfs/root/data`)).toBe("one");
  expect(await host.list(CONTAINERS)).toEqual(["web-01", "web-02", "web-03"]);
});

test("a running one is cloned as it stands", async () => {
  const host = await hostWithOriginal();
  await startContainer(host, "web-01");
  await clone(host);
  expect(await describeContainers(host)).toMatchObject([{ running: true }, { running: false }]);
});

test.each([
  ["no such container", "db", undefined, "There is no container db"],
  ["no such snapshot", "web-01", "one", "web-01 has no snapshot one"],
])("%s is told before anything is made", async (_, name, snapshot, message) => {
  const host = await hostWithOriginal();
  host.forget();
  await expect(clone(host, "web-02", snapshot, name)).rejects.toThrow(message);
  expect(host.changes).toEqual([]);
});

test("a configuration that would start the original's files is not cloned", async () => {
  const host = await hostWithOriginal();
  edit(host, "config", (text) => text.replace(/dir:\S+/, "dir:/srv/web"));
  await expect(clone(host)).rejects.toThrow("does not name the container's root file system");
});

test("of two clones to one name one wins, and the other leaves nothing", async () => {
  const host = await hostWithOriginal();
  const overtaken: Host = {
    ...host,
    rename: (from, to) => {
      host.tree.put(`${to}/container.json`, { text: "theirs" });
      return host.rename(from, to);
    },
  };
  await expect(clone(overtaken)).rejects.toThrow("There is a container web-02 already");
  expect(await host.list(`${CONTAINERS}/web-02`)).toEqual(["container.json"]);
  expect(await host.list(CONTAINERS)).toEqual(["web-01", "web-02"]);
});

test.each([
  ["killed", diesAt],
  ["interrupted", interruptedAt],
])("%s at any moment, there is a whole clone or none, and the original is what it was", async (_, cutAt) => {
  for (let cut = 0, made = false; !made; cut++) {
    const host = await hostWithOriginal();
    const before = host.tree.below(FOLDER);
    made = await clone(cutAt(host, cut)).then(
      () => true,
      () => false,
    );
    endProcess(host);
    await clone(host, "web-03");
    const found = await describeContainers(host);
    expect(
      found.filter((one) => "broken" in one),
      `cut at ${cut}`,
    ).toEqual([]);
    expect(await host.readText(`${containerFolder("web-02")}/rootfs/etc/machine-id`)).not.toBe("0123\n");
    expect((await host.list(CONTAINERS))?.filter((name) => name.startsWith("."))).toEqual([]);
    expect(host.tree.below(FOLDER)).toEqual(before);
  }
});

test("an identity that cannot be taken out fails the clone, and leaves nothing", async () => {
  const host = await hostWithOriginal();
  host.script("perl -e", "through a link: /etc/ssh/ssh_host_rsa_key\n");
  await expect(clone(host)).rejects.toThrow("/etc/ssh/ssh_host_rsa_key lies behind a link");
  host.script("perl -e", { exitCode: 1, stderr: "unable to remove /etc/hostname: Read-only file system" });
  await expect(clone(host)).rejects.toThrow(/Read-only file system$/);
  expect(await host.list(CONTAINERS)).toEqual(["web-01"]);
});
