import { expect, test } from "vitest";
import { UserError } from "../../src/host/errors.ts";
import type { MemoryHost } from "../memory-host.ts";
import { TEMPLATES } from "../../src/paths.ts";
import { digestTree } from "../../src/templates/digest.ts";
import { findTwin, listAllTwins, shiftTemplate } from "../../src/templates/shifted.ts";
import { removeTemplate, verifyTemplate } from "../../src/templates/versions.ts";
import { diesAt } from "../dies-at.ts";
import { installedHost, VERSION_NAME } from "../installed-host.ts";
import { interruptedAt } from "../interrupted-at.ts";

const FOLDER = `${TEMPLATES}/debian-base`;
const VERSION = `${FOLDER}/versions/${VERSION_NAME}`;
const TWIN = { version: VERSION_NAME, idStart: 100_000, path: `${VERSION}/shifted-100000/rootfs` };

const WALK = "setpriv --pdeathsig KILL -- perl";

const shift = (host: Parameters<typeof shiftTemplate>[0], idStart = 100_000) =>
  shiftTemplate(host, "debian-base", VERSION_NAME, idStart);

/** Gives the version the digest that it has. */
async function fitManifest(host: MemoryHost): Promise<void> {
  const path = `${VERSION}/manifest.json`;
  const { digest } = await digestTree(host, `${VERSION}/rootfs`);
  await host.writeText(path, JSON.stringify({ ...JSON.parse((await host.readText(path)) ?? ""), digest }));
}

test("a twin is made once, sealed, from a look to a rename", async () => {
  const host = installedHost();
  expect(await findTwin(host, "debian-base", VERSION_NAME, 100_000)).toBeUndefined();
  expect(await shift(host)).toEqual(TWIN);
  const steps = /^rename|^run btrfs \w+ \w+|(?:look|shift) \S+ 100000 65536(?= \d+$)/;
  expect(host.changes.map((change) => steps.exec(change)?.[0]).filter((step) => step !== undefined)).toEqual([
    `look ${VERSION}/rootfs 100000 65536`,
    "run btrfs subvolume snapshot",
    expect.stringMatching(/^shift \S+\/\.new-\S+\/rootfs 100000 65536$/),
    "run btrfs filesystem sync",
    "run btrfs property set",
    "rename",
  ]);
  host.forget();
  expect(await shift(host)).toEqual(TWIN);
  expect(host.changes).toEqual([]);
  expect(await findTwin(host, "debian-base", VERSION_NAME, 100_000)).toEqual(TWIN);
  expect(await host.list(FOLDER)).toEqual(["rootfs", "versions"]);
});

test("twins of one version are listed by their ids, verified with it, and go with it", async () => {
  const host = installedHost();
  await fitManifest(host);
  for (const idStart of [1_000_000, 100_000]) await shift(host, idStart);
  expect((await listAllTwins(host, "debian-base")).map(({ idStart }) => idStart)).toEqual([100_000, 1_000_000]);
  expect(await verifyTemplate(host, "debian-base")).toMatchObject({ ok: true, twins: [{ ok: true }, { ok: true }] });
  host.tree.put(`${TWIN.path}/etc/debian_version`, { text: "evil" });
  expect(await verifyTemplate(host, "debian-base")).toMatchObject({ ok: false, twins: [{ ok: false }, { ok: true }] });
  await removeTemplate(host, "debian-base");
  expect(await host.list(TEMPLATES)).toEqual([]);
});

test("a twin that was opened is made anew", async () => {
  const host = installedHost();
  await shift(host);
  host.tree.put(TWIN.path, { inode: 256, properties: { ro: "false" } });
  host.tree.put(`${TWIN.path}/etc/evil`, { text: "" });
  expect(await findTwin(host, "debian-base", VERSION_NAME, 100_000)).toBeUndefined();
  expect(await shift(host)).toEqual(TWIN);
  expect(await host.stat(`${TWIN.path}/etc/evil`)).toBeUndefined();
  expect(await host.list(FOLDER)).toEqual(["rootfs", "versions"]);
});

test.each([
  ["look", "etc/x has the owner 70000, and only ids below 65536 can be shifted\n", /^Unable to shift ids: etc\/x has/],
  ["shift", "etc/x cannot be shifted: No space left on device\n", /: No space left on device$/],
])("what fails at the %s is told, and leaves nothing", async (how, stderr, message) => {
  const host = installedHost();
  host.script(WALK, ({ argv }) => (argv.includes(how) ? { exitCode: 1, stderr } : ""));
  await expect(shift(host)).rejects.toThrow(message);
  expect(await host.list(FOLDER)).toEqual(["rootfs", "versions"]);
  expect(await listAllTwins(host, "debian-base")).toEqual([]);
});

test("a version that is not there, or not sealed any more, gets no twin", async () => {
  const host = installedHost();
  await expect(shiftTemplate(host, "debian-base", "20250101T000000Z", 100_000)).rejects.toMatchObject({ exitCode: 3 });
  host.tree.put(`${VERSION}/rootfs`, { inode: 256 });
  await expect(shift(host)).rejects.toThrow("is not sealed (read-only) any more");
  expect(await host.list(FOLDER)).toEqual(["rootfs", "versions"]);
});

test("killed at any moment it leaves a whole twin or none, and the next run clears away the rest", async () => {
  for (let cut = 0; ; cut++) {
    const host = installedHost();
    await shift(host, 1_000_000);
    host.tree.put(`${VERSION}/shifted-1000000/rootfs`, { inode: 256, properties: { ro: "false" } });
    const ended = await shift(diesAt(host, cut), 1_000_000).then(
      () => true,
      () => false,
    );
    for (const { path } of await listAllTwins(host, "debian-base")) expect(await host.stat(path)).toBeDefined();
    // the process is no more: its claims carry a start that is nobody's
    host.tree.put(`/proc/${process.pid}/stat`, { text: "1 (x) S 1 1 1 0 -1 0 1 0 0 0 1 1 0 0 20 0 11 0 1 1 1\n" });
    const again = installedAgain(host);
    expect(await shift(again, 1_000_000)).toMatchObject({ idStart: 1_000_000 });
    expect(await host.list(FOLDER)).toEqual(["rootfs", "versions"]);
    if (ended) break;
    expect(cut).toBeLessThan(50);
  }
});

/** The same machine without the locks of the dead process. */
function installedAgain(host: MemoryHost): MemoryHost {
  return { ...host, lock: async () => async () => {} };
}

test("killed while it removes a version with its twin, the next run clears away both", async () => {
  for (let cut = 0; ; cut++) {
    const host = installedHost();
    await shift(host);
    const ended = await removeTemplate(diesAt(host, cut), "debian-base").then(
      () => true,
      () => false,
    );
    host.tree.put(`/proc/${process.pid}/stat`, { text: "1 (x) S 1 1 1 0 -1 0 1 0 0 0 1 1 0 0 20 0 11 0 1 1 1\n" });
    if (!ended) await removeTemplate(installedAgain(host), "debian-base");
    expect(await host.list(TEMPLATES)).toEqual([]);
    if (ended) break;
    expect(cut).toBeLessThan(50);
  }
});

test("interrupted at any command it leaves a whole twin or none, and no claim", async () => {
  for (let cut = 0; ; cut++) {
    const host = installedHost();
    const failure: unknown = await shift(interruptedAt(host, cut)).then(
      () => undefined,
      (error) => error,
    );
    expect(await host.list(FOLDER)).toEqual(["rootfs", "versions"]);
    if (failure === undefined) break;
    expect(failure).toBeInstanceOf(UserError);
    expect(await listAllTwins(host, "debian-base")).toEqual([]);
    expect(cut).toBeLessThan(50);
  }
});

test("a twin whose ids root may not map cannot be verified, and what mends that is said", async () => {
  const host = installedHost();
  await shift(host);
  host.script("env", {
    exitCode: 1,
    stderr: 'newuidmap failed: "uid range [0-65536) -> [100000-165536) not allowed"\n',
  });
  await expect(verifyTemplate(host, "debian-base")).rejects.toMatchObject({
    message: expect.stringContaining("root may not map the ids 100000-165535"),
    hint: "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 root",
    exitCode: 3,
  });
});
