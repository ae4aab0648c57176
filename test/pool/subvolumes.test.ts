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
  expect(host.changes).toEqual(
    ["/var/lib/machines/inner", "/var/lib/machines", "/var/lib/portables", ""].map(
      (path) => `run btrfs subvolume delete -- ${FOLDER}/rootfs${path}`,
    ),
  );
  expect(await host.list(FOLDER)).toEqual([]);
});

test("keeps what is listed and is not below the path", async () => {
  const host = debianHost({
    files: { [`${FOLDER}/rootfs`]: { inode: 256 } },
    commands: {
      "btrfs subvolume list -o":
        "ID 300 gen 8 top level 256 path @containers/db/rootfs/var\nID 301 gen 8 top level 256 path @plugins/lxc\n",
    },
  });
  await deleteSubvolume(host, `${FOLDER}/rootfs`);
  expect(host.changes).toEqual([`run btrfs subvolume delete -- ${FOLDER}/rootfs`]);
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
