import { expect, test } from "vitest";
import { claimName, sweepAbandoned } from "../../src/pool/claims.ts";
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

test("a folder that is not there has nothing to sweep", async () => {
  expect(await sweepAbandoned(debianHost(), FOLDER)).toEqual([]);
});
