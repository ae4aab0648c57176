import { expect, test } from "vitest";
import {
  createSubvolume,
  deleteSubvolume,
  isReadOnly,
  setReadOnly,
  snapshotReadOnly,
  snapshotSubvolume,
} from "../../src/pool/subvolumes.ts";
import { debianHost } from "../debian-host.ts";

const FOLDER = "/var/lib/op-dbus/@containers/web-01";

test("removes the subvolumes inside a subvolume before it", async () => {
  const host = debianHost();
  for (const path of ["", "/var/lib/machines", "/var/lib/portables", "/var/lib/machines/inner"]) {
    host.tree.put(`${FOLDER}/rootfs${path}`, { inode: 256 });
  }
  await deleteSubvolume(host, `${FOLDER}/rootfs`);
  expect(await host.list(FOLDER)).toEqual([]);
});

test("one that has nothing inside is removed at once, and what cannot be removed says why", async () => {
  const host = debianHost();
  host.tree.put(`${FOLDER}/rootfs`, { inode: 256 });
  await deleteSubvolume(host, `${FOLDER}/rootfs`);
  expect(host.changes).toEqual([`run btrfs subvolume delete -- ${FOLDER}/rootfs`]);
  host.tree.put(`${FOLDER}/rootfs`, { inode: 256 });
  host.script("btrfs subvolume delete", { exitCode: 1, stderr: "ERROR: Read-only file system" });
  await expect(deleteSubvolume(host, `${FOLDER}/rootfs`)).rejects.toThrow("Read-only file system");
});

test("what somebody mounted inside is told and left alone", async () => {
  const host = debianHost();
  host.tree.put(`${FOLDER}/rootfs/srv/inner`, { inode: 256 });
  host.tree.put(`${FOLDER}/rootfs`, { inode: 256 });
  const mounts = host.tree.get("/proc/self/mountinfo")?.text ?? "";
  host.tree.put("/proc/self/mountinfo", {
    text: `${mounts}99 27 0:60 / ${FOLDER}/rootfs/srv rw shared:99 - btrfs /dev/sdc rw\n`,
  });
  await expect(deleteSubvolume(host, `${FOLDER}/rootfs`)).rejects.toMatchObject({
    message: expect.stringContaining(`something is mounted in it, at ${FOLDER}/rootfs/srv`),
    hint: expect.stringContaining(`umount ${FOLDER}/rootfs/srv`),
  });
  expect(await host.stat(`${FOLDER}/rootfs/srv/inner`)).toBeDefined();
});

test("nothing there is no error, and a plain folder is removed", async () => {
  const host = debianHost({ files: { [`${FOLDER}/rootfs/etc/`]: "" } });
  await deleteSubvolume(host, "/nothing");
  await deleteSubvolume(host, `${FOLDER}/rootfs`);
  expect(await host.list(FOLDER)).toEqual([]);
});

test("seals and opens; a snapshot is writable unless asked for", async () => {
  const host = debianHost({ files: { "/pool/": "" } });
  await createSubvolume(host, "/pool/one");
  await setReadOnly(host, "/pool/one", true);
  await snapshotSubvolume(host, "/pool/one", "/pool/two");
  await snapshotReadOnly(host, "/pool/two", "/pool/three");
  expect(await isReadOnly(host, "/pool/one")).toBe(true);
  expect(await isReadOnly(host, "/pool/two")).toBe(false);
  expect(await isReadOnly(host, "/pool/three")).toBe(true);
});
