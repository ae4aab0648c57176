import { expect, test } from "vitest";
import { memoryHost } from "../memory-host.ts";
import { listMounts, mountAt, mountHolding, parseMountInfo } from "../../src/host/mounts.ts";
import { readFixture } from "../fixture.ts";

const mounts = parseMountInfo(readFixture("proc/mountinfo-root-ext4.txt"));

test("reads every line, whatever optional fields it has", () => {
  expect(mounts.map(({ path }) => path)).toEqual([
    "/proc",
    "/sys",
    "/dev",
    "/dev/pts",
    "/",
    "/run",
    "/srv/old disk\\a",
    "/mnt/nas",
  ]);
  expect(mountAt(mounts, "/srv/old disk\\a")).toEqual({
    path: "/srv/old disk\\a",
    type: "ext4",
    source: "/dev/vdb",
    root: "/",
    options: ["rw", "relatime", "rw"],
  });
  expect(mountAt(mounts, "/mnt/nas")).toMatchObject({ type: "nfs4", source: "nas:/export one" });
});

test("reads the subvolume and the options of a BTRFS mount", () => {
  const [, root] = parseMountInfo(readFixture("proc/mountinfo-root-btrfs.txt"));
  expect(root).toMatchObject({ path: "/", type: "btrfs", root: "/@rootfs" });
  expect(root?.options).toContain("compress=zstd:1");
});

test("leaves out lines that are none", () => {
  expect(parseMountInfo("\nhello\n1 2 3\n27 1 254:0 / / rw\n")).toEqual([]);
});

test("the last mount at a path is the one that is seen", () => {
  const over = [...mounts, { path: "/mnt/nas", type: "tmpfs", source: "tmpfs", root: "/", options: [] }];
  expect(mountAt(over, "/mnt/nas")?.type).toBe("tmpfs");
  expect(mountHolding(over, "/mnt/nas/file")?.type).toBe("tmpfs");
  expect(mountAt(over, "/mnt")).toBeUndefined();
});

test("finds what holds a path by whole names, not by beginnings", () => {
  expect(mountHolding(mounts, "/mnt/nas")?.type).toBe("nfs4");
  expect(mountHolding(mounts, "/mnt/nasty")?.path).toBe("/");
  expect(mountHolding(mounts, "/dev/pts/3")?.type).toBe("devpts");
  expect(mountHolding([], "/x")).toBeUndefined();
});

test("a machine without /proc has no mounts", async () => {
  expect(await listMounts(memoryHost())).toEqual([]);
});
