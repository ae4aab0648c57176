import { expect, test } from "vitest";
import { POOL_IMAGE, POOL_MOUNT_UNIT_FILE } from "../../src/paths.ts";
import { isOvercommitted, parseCompsize, poolUsage, subvolumeUsage } from "../../src/pool/usage.ts";
import { debianHost } from "../debian-host.ts";
import { readFixture } from "../fixture.ts";

test("reads what compsize measured", () => {
  const text = readFixture("btrfs/compsize-mixed.txt");
  expect(parseCompsize({ stdout: text, exitCode: 0, stderr: "" })).toEqual({ usedBytes: 241664, sizeBytes: 5152768 });
});

test.each(["No files.\n", "All empty or still-delalloced files.\n"])("%j is a size of nothing", (said) => {
  expect(parseCompsize({ stdout: "", exitCode: 1, stderr: said })).toEqual({ sizeBytes: 0, usedBytes: 0 });
});

test("an unknown size is not zero", () => {
  const failed = (exitCode: number, stderr: string) => parseCompsize({ stdout: "", exitCode, stderr });
  expect(failed(127, "compsize: command not found")).toEqual({ unmeasured: "compsize: command not found" });
  expect(failed(1, "a: File name too long\n")).toEqual({ unmeasured: "a: File name too long" });
  expect(failed(1, "")).toEqual({ unmeasured: "compsize exited with 1" });
});

test("measures every subvolume, and knows the names without compsize", async () => {
  const measured = await subvolumeUsage(debianHost());
  expect(measured).toHaveLength(8);
  expect(measured[0]).toMatchObject({ name: "@cache", wantedLevel: 3, usedBytes: 241664 });
  const unmeasured = await subvolumeUsage(debianHost({ commands: { "compsize --bytes": 127 } }));
  expect(unmeasured.map(({ sizeBytes }) => sizeBytes)).toEqual(Array.from({ length: 8 }));
});

test.each([
  ["rw,compress=zstd:1", 1],
  ["rw,compress-force=zstd:9", 9],
  ["rw,compress=zstd", 3],
  ["rw", 3],
])("mounted with %s, the kernel compresses at level %d", async (options, level) => {
  const mount = `90 27 0:50 / /var/lib/op-dbus rw - btrfs /dev/loop0 ${options}\n`;
  const host = debianHost({ files: { "/proc/self/mountinfo": mount }, space: { total: 10, free: 4 } });
  expect(await poolUsage(host)).toEqual({
    path: "/var/lib/op-dbus",
    kind: "device",
    totalBytes: 10,
    freeBytes: 4,
    levelInForce: level,
  });
});

test.each([
  [4, true],
  [10, false],
])("a pool in a sparse file of 10 bytes whose disk has %d left is overcommitted: %s", async (free, overcommitted) => {
  const host = debianHost({
    files: {
      "/proc/self/mountinfo": "90 27 0:50 / /var/lib/op-dbus rw - btrfs /dev/loop0 rw\n",
      [POOL_MOUNT_UNIT_FILE]: `What=${POOL_IMAGE}\n`,
      [POOL_IMAGE]: "x".repeat(12),
    },
    space: { total: 100, free },
  });
  const sparse = async (path: string) => {
    const found = await host.stat(path);
    return found && path === POOL_IMAGE ? { ...found, allocated: 2 } : found;
  };
  const usage = await poolUsage({ ...host, stat: sparse });
  expect(usage?.growth).toEqual({ mayGrowBytes: 10, hostFreeBytes: free });
  expect(usage && isOvercommitted(usage)).toBe(overcommitted);
});

test("without a pool there is no usage", async () => {
  expect(await poolUsage(debianHost())).toBeUndefined();
});
