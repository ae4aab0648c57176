import { expect, test } from "vitest";
import { destroyContainer } from "../../src/containers/destroy.ts";
import { containerFolder } from "../../src/containers/record.ts";
import { startContainer } from "../../src/containers/start.ts";
import {
  deleteSnapshot,
  hasSubvolumesInside,
  listSnapshots,
  readSnapshot,
  takeSnapshot,
} from "../../src/containers/snapshot.ts";
import type { MemoryHost } from "../memory-host.ts";
import { CONTAINERS } from "../../src/paths.ts";
import { diesAt } from "../dies-at.ts";
import { interruptedAt } from "../interrupted-at.ts";
import { hostWith } from "./host-with.ts";
import { endProcess } from "./next-process.ts";

const FOLDER = containerFolder("web-01");
const ONE = `${FOLDER}/snapshots/one`;

function write(host: MemoryHost, text: string): void {
  host.tree.put(`${FOLDER}/rootfs/root/data`, { text });
}

test("a snapshot is a sealed copy, closed, with the record and the configuration of its time", async () => {
  const host = await hostWith("web-01");
  write(host, "before");
  const taken = await takeSnapshot(host, "web-01", { wanted: "one", note: "before the upgrade" });
  write(host, "after");
  expect(taken).toEqual({ name: "one", createdAt: expect.any(String), note: "before the upgrade", running: false });
  expect(await host.stat(ONE)).toMatchObject({ mode: 0o700, uid: 0 });
  expect(await host.stat(`${FOLDER}/snapshots`)).toMatchObject({ mode: 0o700 });
  expect(await host.readText(`${ONE}/rootfs/root/data`)).toBe("before");
  expect((await host.probe(["btrfs", "property", "get", `${ONE}/rootfs`, "ro"])).stdout).toBe("ro=true\n");
  for (const file of ["container.json", "config"])
    expect(await host.readText(`${ONE}/${file}`)).toBe(await host.readText(`${FOLDER}/${file}`));
  expect(await host.list(CONTAINERS)).toEqual(["web-01"]);
});

test("one of a running container says so; its name is the time, and those of one second are counted", async () => {
  const host = await hostWith("web-01");
  await startContainer(host, "web-01");
  const names = [];
  for (let count = 0; count < 3; count++) names.push(await takeSnapshot(host, "web-01"));
  expect(names.every(({ running }) => running)).toBe(true);
  expect(new Set(names.map(({ name }) => name)).size).toBe(3);
  for (const { name, createdAt } of names) expect(name.split("-")[0]).toBe(createdAt.replaceAll(/[-:]|\.\d+/g, ""));
});

test("snapshots are listed by their time, and one that is broken hides no other", async () => {
  const host = await hostWith("web-01");
  expect(await listSnapshots(host, "web-01")).toEqual([]);
  for (const wanted of ["zero", "one", "two", "three", "four"]) await takeSnapshot(host, "web-01", { wanted });
  host.tree.put(`${FOLDER}/snapshots/one/container.json`, { text: "{" });
  host.tree.drop(`${FOLDER}/snapshots/two/rootfs`);
  host.tree.put(`${FOLDER}/snapshots/three/snapshot.json`, { text: "null" });
  host.tree.put(`${FOLDER}/snapshots/four/config`, { text: "lxc.rootfs.path = dir:/srv\n" });
  const found = await listSnapshots(host, "web-01");
  const told = (name: string, why: string) => ({
    name,
    broken: expect.stringContaining(why),
    mend: `op-dbus container delsnapshot web-01 ${name}`,
  });
  expect(found).toHaveLength(5);
  expect(found).toEqual(
    expect.arrayContaining([
      { name: "zero", createdAt: expect.any(String), running: false },
      told("one", "/one/container.json"),
      told("two", "/two/rootfs"),
      told("three", "/three/snapshot.json"),
      told("four", "/four/config does not name the container's root file system but dir:/srv"),
    ]),
  );
});

test.each([
  ["there is no such container", "db", "one", "There is no container db"],
  ["the name is taken", "web-01", "one", "web-01 has a snapshot one already"],
])("refuses when %s, and leaves nothing", async (_, name, wanted, message) => {
  const host = await hostWith("web-01");
  await takeSnapshot(host, "web-01", { wanted: "one" });
  const before = host.tree.below(CONTAINERS);
  await expect(takeSnapshot(host, name, { wanted })).rejects.toThrow(message);
  expect(host.tree.below(CONTAINERS)).toEqual(before);
});

test("what is broken, or somebody works on, is not taken", async () => {
  const host = await hostWith("web-01");
  const release = await host.lock("/run/opdbus/container-web-01.lock", "container rename web-01");
  await expect(takeSnapshot(host, "web-01")).rejects.toMatchObject({ exitCode: 6 });
  await release();
  host.tree.drop(`${FOLDER}/container.json`);
  await expect(takeSnapshot(host, "web-01")).rejects.toThrow("container.json is missing");
});

test("a container that is destroyed meanwhile does not come back as a snapshot", async () => {
  const host = await hostWith("web-01");
  host.script("btrfs subvolume snapshot", ({ tree }) => tree.drop(FOLDER));
  await expect(takeSnapshot(host, "web-01")).rejects.toMatchObject({ code: "ENOENT" });
  expect(await host.list(CONTAINERS)).toEqual([]);
});

test("a failing snapshot, or an interrupted one, leaves nothing behind", async () => {
  const host = await hostWith("web-01");
  for (let cut = 0, taken = false; !taken; cut++) {
    taken = await takeSnapshot(interruptedAt(host, cut), "web-01", { wanted: "one" }).then(
      () => true,
      () => false,
    );
    expect(await host.list(CONTAINERS)).toEqual(["web-01"]);
    expect(await listSnapshots(host, "web-01")).toHaveLength(taken ? 1 : 0);
  }
});

test("killed at any moment, there is a whole snapshot or none, and the next run clears away the rest", async () => {
  for (let cut = 0, taken = false; !taken; cut++) {
    const host = await hostWith("web-01");
    taken = await takeSnapshot(diesAt(host, cut), "web-01", { wanted: "one" }).then(
      () => true,
      () => false,
    );
    endProcess(host);
    await takeSnapshot(host, "web-01", { wanted: "two" });
    const found = await listSnapshots(host, "web-01");
    expect(
      found.filter((one) => "broken" in one),
      `cut at ${cut}`,
    ).toEqual([]);
    expect(found).toHaveLength(taken ? 2 : 1);
    expect(await host.list(CONTAINERS), `cut at ${cut}`).toEqual(["web-01"]);
  }
});

test("removes a snapshot, also one of which only parts are left, and no other", async () => {
  const host = await hostWith("web-01");
  for (const wanted of ["one", "two", "three"]) await takeSnapshot(host, "web-01", { wanted });
  host.tree.drop(`${FOLDER}/snapshots/two/rootfs`);
  host.tree.put(`${ONE}/rootfs/srv/inner`, { inode: 256 });
  await deleteSnapshot(host, "web-01", "one");
  await deleteSnapshot(host, "web-01", "two");
  expect(await host.list(`${FOLDER}/snapshots`)).toEqual(["three"]);
  expect(await host.list(CONTAINERS)).toEqual(["web-01"]);
  await expect(deleteSnapshot(host, "web-01", "two")).rejects.toMatchObject({
    message: "web-01 has no snapshot two",
    hint: "op-dbus container listsnapshot web-01",
  });
});

test("a removal killed at any moment is finished by the next run, or was not begun", async () => {
  for (let cut = 0, removed = false; !removed; cut++) {
    const host = await hostWith("web-01");
    await takeSnapshot(host, "web-01", { wanted: "one" });
    removed = await deleteSnapshot(diesAt(host, cut), "web-01", "one").then(
      () => true,
      () => false,
    );
    endProcess(host);
    await takeSnapshot(host, "web-01", { wanted: "two" });
    const found = await listSnapshots(host, "web-01");
    expect(
      found.filter((one) => "broken" in one),
      `cut at ${cut}`,
    ).toEqual([]);
    expect(await host.list(CONTAINERS), `cut at ${cut}`).toEqual(["web-01"]);
  }
});

test("a destroy takes the snapshots with it, however they are sealed, killed at any moment", async () => {
  for (let cut = 0, destroyed = false; !destroyed; cut++) {
    const host = await hostWith("web-01", "db");
    for (const wanted of ["one", "two"]) await takeSnapshot(host, "web-01", { wanted });
    destroyed = await destroyContainer(diesAt(host, cut), "web-01", false).then(
      () => true,
      () => false,
    );
    endProcess(host);
    if ((await host.stat(FOLDER)) !== undefined) expect(await listSnapshots(host, "web-01")).toHaveLength(2);
    await destroyContainer(host, "web-01", false).catch(() => {});
    await takeSnapshot(host, "db");
    expect(await host.list(CONTAINERS), `cut at ${cut}`).toEqual(["db"]);
  }
});

test("what is mounted in a snapshot is never removed with it", async () => {
  const host = await hostWith("web-01");
  await takeSnapshot(host, "web-01", { wanted: "one" });
  const mounts = host.tree.get("/proc/self/mountinfo")?.text ?? "";
  host.tree.put("/proc/self/mountinfo", {
    text: `${mounts}99 27 0:60 / ${ONE}/rootfs/srv rw shared:99 - ext4 /dev/sdc rw\n`,
  });
  await expect(deleteSnapshot(host, "web-01", "one")).rejects.toThrow("something is mounted in it");
  expect(await readSnapshot(host, "web-01", "one")).toMatchObject({ rootfs: `${ONE}/rootfs` });
});

test("a container whose configuration is missing gets no snapshot that nobody could roll back to", async () => {
  const host = await hostWith("web-01");
  host.tree.drop(`${FOLDER}/config`);
  await expect(takeSnapshot(host, "web-01", { wanted: "one" })).rejects.toThrow("config");
  expect(await listSnapshots(host, "web-01")).toEqual([]);
});

test("knows of subvolumes that a guest made inside, which are in no snapshot", async () => {
  const host = await hostWith("web-01");
  expect(await hasSubvolumesInside(host, "web-01")).toBe(false);
  host.tree.put(`${FOLDER}/rootfs/var/lib/machines`, { inode: 256 });
  expect(await hasSubvolumesInside(host, "web-01")).toBe(true);
  // one that lies too deep for it; and not being able to look is not having seen none
  const stderr = "ERROR: failed to lookup path for root 256: File name too long";
  host.script("btrfs subvolume list -o", { exitCode: 1, stderr });
  expect(await hasSubvolumesInside(host, "web-01")).toBe(true);
  host.tree.drop(`${FOLDER}/rootfs`);
  expect(await hasSubvolumesInside(host, "web-01")).toBe(false);
});
