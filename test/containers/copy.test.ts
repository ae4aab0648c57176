import { expect, test } from "vitest";
import { copyContainer } from "../../src/containers/copy.ts";
import { containerFolder } from "../../src/containers/record.ts";
import { takeSnapshot } from "../../src/containers/snapshot.ts";
import { startContainer } from "../../src/containers/start.ts";
import type { Host } from "../../src/host/host.ts";
import type { MemoryHost } from "../memory-host.ts";
import type { Entry } from "../memory-tree.ts";
import { CONTAINERS } from "../../src/paths.ts";
import { diesAt } from "../dies-at.ts";
import { interruptedAt } from "../interrupted-at.ts";
import { hostWith } from "./host-with.ts";
import { endProcess } from "./next-process.ts";

const DISK = "/mnt/disk";
const THERE = `${DISK}/@containers`;

/** A host with a container, and a second disk, mounted. */
async function hostWithDisk(mount = `${DISK} rw shared:99 - btrfs /dev/sdc rw`): Promise<MemoryHost> {
  const host = await hostWith("web-01");
  host.tree.put(DISK, { inode: 256 });
  const mounts = host.tree.get("/proc/self/mountinfo")?.text ?? "";
  host.tree.put("/proc/self/mountinfo", { text: `${mounts}99 27 0:60 / ${mount}\n` });
  host.tree.put(`${containerFolder("web-01")}/rootfs/root/data`, { text: "one" });
  host.tree.put(`${containerFolder("web-01")}/rootfs/etc/hostname`, { text: "web-01\n" });
  host.tree.put(`${containerFolder("web-01")}/rootfs/etc/machine-id`, { text: "0123\n" });
  host.forget();
  return host;
}

function copy(host: Host, pool = DISK, as = "web-01", name = "web-01") {
  return copyContainer(host, { name, pool, as }, () => {});
}

test("the copy has the layout of a pool, is open, and needs only to be started where that disk is the pool", async () => {
  const host = await hostWithDisk();
  await takeSnapshot(host, "web-01", { wanted: "one" });
  await startContainer(host, "web-01");
  expect(await copy(host)).toEqual({ path: `${THERE}/web-01`, bytes: expect.any(Number) });
  expect(await host.stat(THERE)).toMatchObject({ mode: 0o700, inode: 256 });
  expect(await host.list(THERE)).toEqual(["web-01"]);
  expect(await host.list(`${THERE}/web-01`)).toEqual(["config", "container.json", "rootfs"]);
  expect(await host.stat(`${THERE}/web-01`)).toMatchObject({ mode: 0o700 });
  for (const file of ["config", "container.json"])
    expect(await host.stat(`${THERE}/web-01/${file}`)).toMatchObject({ mode: 0o600 });
  expect(await host.readText(`${THERE}/web-01/container.json`)).toBe(
    await host.readText(`${containerFolder("web-01")}/container.json`),
  );
  expect(await host.readText(`${THERE}/web-01/rootfs/root/data`)).toBe("one");
  expect(await host.readText(`${THERE}/web-01/rootfs/etc/machine-id`)).toBe("0123\n");
  expect((await host.probe(["btrfs", "property", "get", `${THERE}/web-01/rootfs`, "ro"])).stdout).toBe("ro=false\n");
  expect(await host.list(CONTAINERS)).toEqual(["web-01"]);
  // such a host has no link for LXC yet
  for (const path of [CONTAINERS, "/var/lib/lxc/web-01"]) host.tree.drop(path);
  host.tree.put("/proc/net/unix", { text: "" });
  host.tree.move(THERE, CONTAINERS);
  expect(await startContainer(host, "web-01")).toBe(true);
  expect(await host.readLink("/var/lib/lxc/web-01")).toBe(containerFolder("web-01"));
});

test("under another name it has that name everywhere", async () => {
  const host = await hostWithDisk();
  await copy(host, DISK, "db");
  expect(JSON.parse((await host.readText(`${THERE}/db/container.json`)) ?? "")).toMatchObject({ name: "db" });
  expect(await host.readText(`${THERE}/db/config`)).toContain(`dir:${CONTAINERS}/db/rootfs\n`);
  expect(await host.stat(`${THERE}/db/rootfs/etc/hostname`)).toBeUndefined();
});

const mountOf = (rest: string) => `${DISK} rw shared:99 - ${rest}`;

test.each<[string, string, string, Record<string, Entry>]>([
  ["no mount", `/mnt/other rw shared:99 - btrfs /dev/sdc rw`, "no file system is mounted there", {}],
  ["no BTRFS", mountOf("ext4 /dev/sdc rw"), "it is ext4, and a pool is BTRFS", {}],
  ["the pool's own file system", mountOf("btrfs /dev/vda2 rw"), "that is the file system of this pool", {}],
  ["somebody else's", mountOf("btrfs /dev/sdc rw"), `others than root can write to ${DISK}`, { [DISK]: { uid: 1000 } }],
  ["open to all", mountOf("btrfs /dev/sdc rw"), `others than root can write to ${DISK}`, { [DISK]: { mode: 0o1777 } }],
  ["in a folder of somebody", mountOf("btrfs /dev/sdc rw"), "can write to /mnt", { "/mnt": { uid: 1000 } }],
  ["in an open folder", mountOf("btrfs /dev/sdc rw"), "can write to /mnt", { "/mnt": { mode: 0o775 } }],
])("a path that is %s is refused, and nothing is done", async (_, mount, message, entries) => {
  const host = await hostWithDisk(mount);
  for (const [path, entry] of Object.entries(entries)) host.tree.put(path, entry);
  await expect(copy(host)).rejects.toMatchObject({
    message: expect.stringContaining(message),
    hint: expect.stringMatching(/./),
    exitCode: 2,
  });
  expect(host.changes).toEqual([]);
});

test.each(["mnt/disk", `${DISK}/../disk`, "/var/lib/op-dbus", "", "/"])("the path %j is refused", async (path) => {
  const host = await hostWithDisk();
  await expect(copy(host, path)).rejects.toMatchObject({ exitCode: 2 });
  expect(host.changes).toEqual([]);
});

test("in a folder like /tmp what is root's is safe", async () => {
  const host = await hostWithDisk();
  host.tree.put("/mnt", { mode: 0o1777 });
  await copy(host);
});

test.each<[string, string, Entry]>([
  ["a taken name", `${THERE}/web-01`, {}],
  ["a folder of containers that is none", THERE, { text: "" }],
  ["a folder of containers that is no subvolume", THERE, {}],
  ["a folder of containers that is a link", THERE, { target: "/etc" }],
  ["a folder of containers of somebody else", THERE, { inode: 256, uid: 1000 }],
])("%s is refused and left as it is", async (_, path, entry) => {
  const host = await hostWithDisk();
  if (path !== THERE) host.tree.put(THERE, { inode: 256 });
  host.tree.put(path, entry);
  const before = host.tree.below(DISK);
  await expect(copy(host)).rejects.toThrow(/There is a container web-01 in|is no subvolume of root's/);
  expect(host.tree.below(DISK)).toEqual(before);
});

test("a folder of containers that others can look into is closed before anything comes into it", async () => {
  const host = await hostWithDisk();
  host.tree.put(THERE, { inode: 256, mode: 0o755 });
  await copy(host);
  expect(await host.stat(THERE)).toMatchObject({ mode: 0o700 });
});

test("what does not fit is refused before it is sent", async () => {
  const host = await hostWithDisk();
  await expect(copy({ ...host, space: async () => ({ total: 2 ** 20, free: 2 ** 10 }) })).rejects.toMatchObject({
    message: expect.stringMatching(/^web-01 takes .+, and \/mnt\/disk has 1\.0 KiB left$/),
    hint: expect.stringContaining("df -h"),
  });
  expect(host.changes.some((change) => change.includes("btrfs send"))).toBe(false);
  // where it cannot be measured, the disk itself says so
  host.script("compsize --bytes", { exitCode: 127, stderr: "compsize: command not found" });
  await copy(host);
});

test("a stream that breaks is told, and leaves nothing on either side", async () => {
  const host = await hostWithDisk();
  host.script("btrfs receive", { exitCode: 1, stderr: "ERROR: writing to root/data failed: No space left on device" });
  await expect(copy(host)).rejects.toThrow("No space left on device");
  expect(await host.list(THERE)).toEqual([]);
  expect(await host.list(CONTAINERS)).toEqual(["web-01"]);
});

test.each([
  ["killed", diesAt],
  ["interrupted", interruptedAt],
])("%s at any moment, there is a whole copy or none, and the next run clears away the rest", async (_, cutAt) => {
  for (let cut = 0, done = false; !done; cut++) {
    const host = await hostWithDisk();
    done = await copy(cutAt(host, cut)).then(
      () => true,
      () => false,
    );
    endProcess(host);
    const made = (await host.list(THERE))?.includes("web-01") ?? false;
    if (made) expect(await host.list(`${THERE}/web-01`)).toEqual(["config", "container.json", "rootfs"]);
    await copy(host, DISK, "other");
    expect(await host.list(THERE), `cut at ${cut}`).toEqual(made ? ["other", "web-01"] : ["other"]);
    expect(await host.list(CONTAINERS), `cut at ${cut}`).toEqual(["web-01"]);
    expect(await host.readText(`${containerFolder("web-01")}/rootfs/root/data`)).toBe("one");
  }
});
