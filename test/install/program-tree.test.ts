import { expect, test } from "vitest";
import type { MemoryHost } from "../../src/host/memory-host.ts";
import { CURRENT, findTree, installTree, PROGRAM } from "../../src/install/program-tree.ts";
import { TREE } from "../../src/tree.ts";
import { debianHost } from "../debian-host.ts";
import { diesAt } from "../dies-at.ts";

const OLD = `${PROGRAM}/0.0.9-rc.1-1`;

/** A host that runs version 0.0.9, with the tree of this version unpacked beside it. */
function hostWithOld(): MemoryHost {
  return debianHost({
    files: {
      [`${OLD}/op-dbus`]: "#!/bin/sh\n",
      [`${OLD}/tree.json`]: JSON.stringify({ version: "0.0.9-rc.1", files: {} }),
      [CURRENT]: { target: "0.0.9-rc.1-1" },
    },
  });
}

test("a new version is put beside the old one, takes its place, and the old one goes", async () => {
  const host = hostWithOld();
  expect(await findTree(host)).toEqual({ state: "change", version: "dev" });
  await installTree(host);
  expect(await findTree(host)).toEqual({ state: "ok" });
  expect(await host.list(PROGRAM)).toEqual(["current", "dev-1"]);
});

test("cut off at any moment, an upgrade leaves a whole program, the old or the new one", async () => {
  const uncut = hostWithOld();
  await installTree(uncut);
  for (let cut = 0; cut < uncut.changes.length; cut++) {
    const host = hostWithOld();
    await expect(installTree(diesAt(host, cut))).rejects.toThrow("killed");
    const inForce = `${PROGRAM}/${await host.readLink(CURRENT)}`;
    const whole = inForce === OLD ? ["op-dbus", "tree.json"] : await host.list(TREE);
    expect(await host.list(inForce), `cut at ${uncut.changes[cut]}`).toEqual(whole);
    await installTree(host);
    expect(await host.list(PROGRAM)).toEqual(["current", "dev-1"]);
  }
});

test("a program that still runs keeps the tree that it loads its modules from", async () => {
  const host = hostWithOld();
  host.tree.put("/proc/77/exe", { target: `${OLD}/bin/node` });
  await installTree(host);
  expect(await host.list(PROGRAM)).toEqual(["0.0.9-rc.1-1", "current", "dev-1"]);
  host.tree.drop("/proc/77");
  await installTree(host);
  expect(await host.list(PROGRAM)).toEqual(["current", "dev-1"]);
});

test("an altered copy is replaced by a fresh one, and never written into", async () => {
  const host = hostWithOld();
  await installTree(host);
  host.tree.put(`${PROGRAM}/dev-1/op-dbus`, { text: "altered" });
  host.forget();
  expect(await findTree(host)).toEqual({ state: "change", version: "dev" });
  await installTree(host);
  expect(await host.list(PROGRAM)).toEqual(["current", "dev-2"]);
  expect(host.changes.filter((change) => change.startsWith("write"))).toEqual([]);
});

test("an altered tree is not installed, whatever was in force before", async () => {
  const host = hostWithOld();
  host.tree.put(`${TREE}/op-dbus`, { text: "altered" });
  expect(await findTree(host)).toMatchObject({ state: "blocked", reason: `${TREE}/op-dbus is not what was built` });
});

test.each(["", "{", "[]", '{"version":"1"}', '{"version":"1","files":{"a":1}}'])(
  "a tree whose list of files is %j is not whole, and not installed",
  async (text) => {
    const host = hostWithOld();
    host.tree.put(`${TREE}/tree.json`, { text });
    expect(await findTree(host)).toMatchObject({ state: "blocked", reason: `${TREE}/tree.json is not what was built` });
  },
);

test("a checkout says how it becomes a tree", async () => {
  const host = hostWithOld();
  host.tree.drop(`${TREE}/tree.json`);
  host.tree.put(`${TREE}/src`, {});
  expect(await findTree(host)).toMatchObject({ state: "blocked", hint: expect.stringContaining("npm run build") });
});

test("a folder in the place of the link is left alone and told", async () => {
  const host = debianHost({ files: { [`${CURRENT}/theirs`]: "x" } });
  expect(await findTree(host)).toMatchObject({ state: "blocked", hint: `mv ${CURRENT} ${CURRENT}.before` });
});

test("what others keep beside our trees stays", async () => {
  const host = hostWithOld();
  host.tree.put(`${PROGRAM}/bin/node`, { text: "a package's" });
  await installTree(host);
  expect(await host.readText(`${PROGRAM}/bin/node`)).toBe("a package's");
});
