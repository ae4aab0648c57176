import { expect, test } from "vitest";
import { UserError } from "../../src/host/errors.ts";
import { claimName, discard, discardFailed, sweepAbandoned } from "../../src/pool/claims.ts";
import { debianHost, processStat } from "../debian-host.ts";

const FOLDER = "/var/lib/op-dbus/@containers";

test("names the process and when it was started", async () => {
  expect(await claimName(debianHost(), "new", "web-01")).toBe(`.new-${process.pid}-4242-web-01`);
});

test("sweeps what dead processes left, and nothing of living ones", async () => {
  const host = debianHost({ files: { "/proc/77/stat": processStat(77, 1000) } });
  const mine = await claimName(host, "new", "mine");
  const kept = [mine, ".new-77-1000-living", ".gone-77-1000-living", ".hidden", "web-01", "new-1-1-x"];
  // 77 is another process by now: the pid was given again
  const swept = [".gone-78-5-dead", ".new-77-999-pid-again", ".new-78-5-dead"];
  for (const name of [...kept, ...swept]) {
    host.tree.put(`${FOLDER}/${name}/rootfs`, { inode: 256, properties: { ro: "true" } });
    host.tree.put(`${FOLDER}/${name}/config`, { text: "" });
  }
  expect(await sweepAbandoned(host, FOLDER)).toEqual(swept);
  expect(await host.list(FOLDER)).toEqual(kept.toSorted());
});

test("what failed is told before what could not be cleared away after it", async () => {
  const host = debianHost({ commands: { "btrfs subvolume delete": { exitCode: 1, stderr: "busy" }, find: 0 } });
  const failed = new UserError("no space", { exitCode: 3 });
  host.tree.put(`${FOLDER}/gone`, {});
  expect(await discardFailed(host, `${FOLDER}/gone`, failed)).toBe(failed);
  host.tree.put(`${FOLDER}/stuck/rootfs`, { inode: 256 });
  expect(await discardFailed(host, `${FOLDER}/stuck`, failed)).toMatchObject({
    message: expect.stringMatching(/^no space\nWhat was made of it could not be removed: .*busy$/),
    exitCode: 3,
    cause: failed,
  });
});

test("snapshots in what a dead process left go with it, sealed as they are", async () => {
  const host = debianHost();
  for (const path of ["rootfs", "snapshots/one/rootfs", "snapshots/two/rootfs"])
    host.tree.put(`${FOLDER}/.gone-78-5-dead/${path}`, { inode: 256, properties: { ro: "true" } });
  host.tree.put(`${FOLDER}/.gone-78-5-dead/snapshots/broken`, {});
  expect(await sweepAbandoned(host, FOLDER)).toEqual([".gone-78-5-dead"]);
  expect(await host.list(FOLDER)).toEqual([]);
});

test("a folder that is not there has nothing to sweep", async () => {
  expect(await sweepAbandoned(debianHost(), FOLDER)).toEqual([]);
});

test("a folder goes with the subvolumes of its folders", async () => {
  const host = debianHost();
  host.tree.put(`${FOLDER}/gone/rootfs`, { inode: 256, properties: { ro: "true" } });
  host.tree.put(`${FOLDER}/gone/shifted-100000/rootfs`, { inode: 256, properties: { ro: "true" } });
  host.tree.put(`${FOLDER}/gone/config`, { text: "" });
  host.tree.put(`${FOLDER}/other/rootfs`, { inode: 256 });
  await discard(host, `${FOLDER}/gone`);
  expect(await host.list(FOLDER)).toEqual(["other"]);
});

test.each([
  ["it is one itself", "gone", "victim"],
  ["one of its folders is", "gone/1.0", "victim"],
  ["its folder of snapshots is", "gone/snapshots", "victims"],
  ["one of its snapshots is", "gone/snapshots/one", "victim"],
  ["its tree is", "gone/rootfs", "victim/rootfs"],
])("a link in a pool that came from elsewhere leads nowhere: %s", async (_, link, target) => {
  const host = debianHost();
  for (const path of ["victim/rootfs", "victims/one/rootfs"]) host.tree.put(`/srv/${path}`, { inode: 256 });
  host.tree.put(`${FOLDER}/${link}`, { target: `/srv/${target}` });
  await discard(host, `${FOLDER}/gone`);
  expect(await host.list(FOLDER)).toEqual([]);
  expect(await host.stat("/srv/victim/rootfs")).toBeDefined();
  expect(await host.stat("/srv/victims/one/rootfs")).toBeDefined();
});
