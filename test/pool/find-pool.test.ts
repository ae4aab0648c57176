import { expect, test } from "vitest";
import { CURRENT_STATE, POOL, POOL_IMAGE, POOL_MOUNT_UNIT, POOL_MOUNT_UNIT_FILE } from "../../src/paths.ts";
import { findPool, requirePool } from "../../src/pool/find-pool.ts";
import { makePool } from "../../src/pool/make-pool.ts";
import { debianHost } from "../debian-host.ts";

const GIB = 2 ** 30;

const DEVICE = "/dev/sdb";
const say = () => {};
const FILE = { type: "file", mode: 0o600, uid: 0, gid: 0, allocated: 0, inode: 1 } as const;

function mountedPool(type: string, source: string) {
  const host = debianHost({ root: "ext4", files: { [`${POOL}/`]: "" } });
  const before = host.tree.get("/proc/self/mountinfo")?.text ?? "";
  host.tree.put("/proc/self/mountinfo", { text: `${before}90 27 0:50 / ${POOL} rw shared:4 - ${type} ${source} rw\n` });
  return host;
}

test.each([
  [undefined, "device"],
  ["What=/dev/disk/by-uuid/1b9c0a54-0001-4e33-9d5c-8d4f1c2a7e01\n", "device"],
  ["What=/var/lib/opdbus-pve/pool.img\n", "loop"],
])("a BTRFS mount whose unit says %j is a pool of kind %s", async (unit, kind) => {
  const host = mountedPool("btrfs", "/dev/loop7");
  if (unit !== undefined) host.tree.put(POOL_MOUNT_UNIT_FILE, { text: unit });
  expect(await findPool(host, {})).toEqual({ state: "ready", kind });
});

test.each([
  [{ sizeBytes: 2 * GIB }, undefined],
  // it was made larger since
  [{ sizeBytes: 1 * GIB }, undefined],
  [{ sizeBytes: 3 * GIB }, /in \/var\/lib\/opdbus-pve\/pool.img and has 2 GiB; a file of 3 GiB .*ignored/],
  [{ device: DEVICE }, /has 2 GiB; \/dev\/sdb .*ignored/],
])("a pool that is there already is not changed by %j, and that is told", async (request, unmet) => {
  const host = mountedPool("btrfs", "/dev/loop7");
  host.tree.put(POOL_MOUNT_UNIT_FILE, { text: `What=${POOL_IMAGE}\n` });
  const stat = (path: string) => (path === POOL_IMAGE ? Promise.resolve({ ...FILE, size: 2 * GIB }) : host.stat(path));
  const found = await findPool({ ...host, stat }, request);
  expect(found).toMatchObject({ state: "ready", kind: "loop" });
  if (unmet) expect(found).toHaveProperty("unmet", expect.stringMatching(unmet));
  else expect(found).not.toHaveProperty("unmet");
});

test("a mount of something else is in the way", async () => {
  expect(await findPool(mountedPool("ext4", "/dev/sdb1"), { sizeBytes: GIB })).toMatchObject({
    state: "blocked",
    reason: `${POOL} is a mount of ext4 (/dev/sdb1), and the pool must be BTRFS`,
  });
});

test("a folder with something in it is in the way", async () => {
  const host = debianHost({ root: "btrfs", files: { [`${POOL}/old/file`]: "" } });
  expect(await findPool(host, {})).toMatchObject({ state: "blocked", hint: expect.stringContaining(`mv ${POOL}`) });
});

test("on a BTRFS host the pool is a subvolume of it, made once", async () => {
  const host = debianHost({ root: "btrfs", files: { [`${POOL}/`]: "" } });
  const found = await findPool(host, {});
  expect(found).toMatchObject({ state: "make", make: { kind: "subvolume" } });
  if (found.state === "make") await makePool(host, found.make, say);
  expect(await findPool(host, {})).toEqual({ state: "ready", kind: "subvolume" });
  expect(await host.stat(POOL)).toMatchObject({ mode: 0o755, inode: 256 });
});

test("elsewhere the admin must say where", async () => {
  expect(await findPool(debianHost({ root: "ext4" }), {})).toMatchObject({
    state: "blocked",
    reason: `${POOL} would lie on ext4, and the pool must be BTRFS`,
    hint: expect.stringMatching(/--pool-size 20G.*\n.*--pool-device/),
  });
});

test("a pool in a file is made whole, mounted now and at boot", async () => {
  const host = debianHost({ root: "ext4" });
  const found = await findPool(host, { sizeBytes: 2 * GIB });
  expect(found).toMatchObject({ state: "make", make: { kind: "loop", image: "make" } });
  if (found.state === "make") await makePool(host, found.make, say);
  expect(await findPool(host, {})).toEqual({ state: "ready", kind: "loop" });
  expect(host.changes).toContain(`run truncate --size ${2 * GIB} -- ${POOL_IMAGE}.new`);
  expect(await host.stat(POOL_IMAGE)).toMatchObject({ mode: 0o600 });
  expect(await host.stat("/var/lib/opdbus-pve")).toMatchObject({ mode: 0o711 });
  expect(await host.readText(POOL_MOUNT_UNIT_FILE)).toMatch(
    /RequiresMountsFor=\/var\/lib\/opdbus-pve\n[^]*What=\/var\/lib\/opdbus-pve\/pool\.img\nWhere=\/var\/lib\/op-dbus\nType=btrfs\nOptions=loop,noatime\n[^]*WantedBy=local-fs\.target\n/,
  );
  expect((await host.probe(["systemctl", "is-enabled", POOL_MOUNT_UNIT])).stdout).toBe("enabled\n");
});

test("an image that was half made is made anew, a whole one is kept", async () => {
  const host = debianHost({ root: "ext4", files: { [`${POOL_IMAGE}.new`]: "half" } });
  host.script("mkfs.btrfs", 1);
  const found = await findPool(host, { sizeBytes: GIB });
  if (found.state === "make") await expect(makePool(host, found.make, say)).rejects.toThrow(/mkfs\.btrfs/);
  expect(await host.stat(POOL_IMAGE)).toBeUndefined();

  host.tree.put(POOL_IMAGE, { text: "btrfs" });
  host.forget();
  const again = await findPool(host, { sizeBytes: GIB });
  expect(again).toMatchObject({ state: "make", make: { kind: "loop", image: "keep" } });
  if (again.state === "make") await makePool(host, again.make, say);
  expect(host.commands.join("\n")).not.toMatch(/mkfs|truncate/);
  expect(await findPool(host, {})).toEqual({ state: "ready", kind: "loop" });
});

test("a pool in a file must not be too small", async () => {
  expect(await findPool(debianHost({ root: "ext4" }), { sizeBytes: 255 * 2 ** 20 })).toMatchObject({
    state: "blocked",
    reason: "a pool of 255 MiB is too small",
  });
});

test.each([
  [50 * GIB, "40G"],
  [2 * GIB, "1G"],
  [GIB, "819M"],
])("a pool in a file must fit: with %d bytes free it says what would", async (free, fits) => {
  const host = debianHost({ root: "ext4", space: { total: 100 * GIB, free } });
  expect(await findPool(host, { sizeBytes: 60 * GIB })).toMatchObject({
    state: "blocked",
    reason: expect.stringContaining("a pool of 60 GiB does not fit"),
    hint: `opdbus-pve install --pool-size ${fits}`,
  });
});

test("where no pool at all would fit, it does not propose one", async () => {
  const host = debianHost({ root: "ext4", space: { total: GIB, free: 200 * 2 ** 20 } });
  const found = await findPool(host, { sizeBytes: GIB });
  expect(found).toMatchObject({ state: "blocked" });
  expect(found.state === "blocked" && found.hint).not.toContain("--pool-size");
});

test.each([
  ["does not exist", undefined, 0, `${DEVICE} is no block device of this host`],
  ["has a file system", "ext4", 0, `${DEVICE} is not empty (ext4), and is never formatted as it is`],
  ["has a partition table", "gpt", 0, `${DEVICE} is not empty (gpt), and is never formatted as it is`],
  [
    "has partitions that udev knows of",
    "",
    2,
    `${DEVICE} is not empty (it has partitions), and is never formatted as it is`,
  ],
])("a device that %s is never formatted, confirmed or not", async (_, content, partitions, reason) => {
  const host = debianHost({ root: "ext4", files: content === undefined ? {} : { [DEVICE]: content } });
  const children = Array.from({ length: partitions }, (__, index) => ({ path: `${DEVICE}${index + 1}` }));
  if (partitions > 0) host.script("lsblk --json", JSON.stringify({ blockdevices: [{ path: DEVICE, children }] }));
  for (const confirmFormat of [{}, { confirmFormat: DEVICE }]) {
    expect(await findPool(host, { device: DEVICE, ...confirmFormat })).toMatchObject({ state: "blocked", reason });
  }
});

test("a device that cannot be read is not taken for an empty one", async () => {
  const host = debianHost({ root: "ext4", files: { [DEVICE]: "" } });
  host.script("blkid --probe --output export", { exitCode: 4, stderr: "blkid: error: /dev/sdb: Input/output error\n" });
  expect(await findPool(host, { device: DEVICE, confirmFormat: DEVICE })).toMatchObject({
    state: "blocked",
    reason: expect.stringContaining("Input/output error"),
  });
});

test("an empty device is formatted only when its own name was given again", async () => {
  const host = debianHost({ root: "ext4", files: { [DEVICE]: "" } });
  for (const confirmFormat of [{}, { confirmFormat: "/dev/sda" }, { confirmFormat: "yes" }]) {
    expect(await findPool(host, { device: DEVICE, ...confirmFormat })).toMatchObject({
      state: "blocked",
      confirm: DEVICE,
    });
  }
  const found = await findPool(host, { device: DEVICE, confirmFormat: DEVICE });
  expect(found).toMatchObject({ state: "make", make: { kind: "device", format: true } });
  if (found.state === "make") await makePool(host, found.make, say);
  expect(await host.readText(POOL_MOUNT_UNIT_FILE)).toMatch(/^What=\/dev\/disk\/by-uuid\/[0-9a-f-]{36}$/m);
  expect(await findPool(host, {})).toEqual({ state: "ready", kind: "device" });
  host.tree.put("/dev/disk/by-uuid/1b9c0a54-0001-4e33-9d5c-8d4f1c2a7e01", { target: "../../sdb" });
  expect(await findPool(host, { device: DEVICE })).toEqual({ state: "ready", kind: "device" });
  expect(await findPool(host, { device: "/dev/sdc" })).toMatchObject({
    state: "ready",
    unmet: expect.stringMatching(/there already, on \/dev\/disk\/by-uuid\/.*; \/dev\/sdc .*ignored/),
  });
});

test("a device with BTRFS on it is used as it is, once its name was confirmed", async () => {
  const host = debianHost({ root: "ext4", files: { [DEVICE]: "btrfs" } });
  expect(await findPool(host, { device: DEVICE })).toMatchObject({ state: "blocked", confirm: DEVICE });
  const found = await findPool(host, { device: DEVICE, confirmFormat: DEVICE });
  expect(found).toMatchObject({ state: "make", make: { kind: "device", format: false } });
  if (found.state === "make") await makePool(host, found.make, say);
  expect(host.commands.join("\n")).not.toContain("mkfs");
});

test("a pool that is only not mounted is mounted, whatever is asked for", async () => {
  const host = debianHost({ root: "ext4", files: { [`${POOL}/`]: "", [POOL_IMAGE]: "btrfs" } });
  host.tree.put(POOL_MOUNT_UNIT_FILE, { text: `[Mount]\nWhat=${POOL_IMAGE}\nWhere=${POOL}\nOptions=loop\n` });
  const found = await findPool(host, { device: DEVICE, confirmFormat: DEVICE });
  expect(found).toMatchObject({ state: "make", make: { kind: "mount" } });
  if (found.state === "make") await makePool(host, found.make, say);
  expect(await findPool(host, {})).toEqual({ state: "ready", kind: "loop" });
});

test("a pool on the host's own BTRFS stays that in a unit of systemd that may write to it", async () => {
  const host = debianHost({ files: { [POOL]: { inode: 256 } } });
  const mounts = (await host.readText("/proc/self/mountinfo")) ?? "";
  const root = mounts.split("\n").find((line) => line.split(" ")[4] === "/") ?? "";
  const bound = root.replace(/^(\S+ \S+ \S+) (\S+) \/ /, `$1 $2${POOL.slice(1)} ${POOL} `);
  host.tree.put("/proc/self/mountinfo", { text: `${mounts}${bound}\n` });
  expect(bound).toContain(` ${POOL} `);
  expect(await findPool(host, {})).toEqual({ state: "ready", kind: "subvolume" });
});

test("a pool whose image is gone is not made anew in silence", async () => {
  const host = debianHost({ root: "ext4", files: { [POOL_MOUNT_UNIT_FILE]: `What=${POOL_IMAGE}\n` } });
  expect(await findPool(host, { sizeBytes: GIB })).toMatchObject({
    state: "blocked",
    reason: expect.stringContaining(`${POOL_IMAGE} is gone`),
  });
});

test("a file system that knows no immutable folders is no obstacle, and is said", async () => {
  const host = debianHost({ root: "ext4", commands: { chattr: { exitCode: 1, stderr: "not supported" } } });
  const said: string[] = [];
  await makePool(host, { kind: "loop", sizeBytes: GIB, image: "make" }, (event) => said.push(event.kind));
  expect(said).toEqual(["warn"]);
});

test("work is refused where there is no pool, with the command that mends it", async () => {
  await expect(requirePool(debianHost())).rejects.toMatchObject({ exitCode: 3, hint: "opdbus-pve install" });
  const unmounted = debianHost({ files: { [POOL_MOUNT_UNIT_FILE]: "", [CURRENT_STATE]: "" } });
  await expect(requirePool(unmounted)).rejects.toMatchObject({
    exitCode: 3,
    message: `There is no pool at ${POOL}: it is not mounted`,
    hint: `systemctl start '${POOL_MOUNT_UNIT}'`,
  });
  const renamed = debianHost({ files: { [POOL]: { inode: 256 }, [`${POOL}/@old-containers`]: { inode: 256 } } });
  await expect(requirePool(renamed)).rejects.toMatchObject({
    exitCode: 3,
    message: `The pool has no subvolume ${POOL}/@containers`,
    hint: expect.stringContaining(`ls ${POOL}`),
  });
});
