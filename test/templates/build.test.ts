import { expect, test, vi } from "vitest";
import { memoryHost, type MemoryHost } from "../memory-host.ts";
import type { ReportEvent } from "../../src/report/report.ts";
import { buildTemplate, type BuildOptions } from "../../src/templates/build.ts";
import { readDefinition } from "../../src/templates/definition.ts";
import {
  currentVersion,
  listTemplates,
  listVersions,
  readManifest,
  requireVersion,
} from "../../src/templates/manifest.ts";
import { describeTemplates } from "../../src/templates/describe.ts";
import {
  pruneBuilt,
  removeTemplate,
  surplusVersions,
  useVersion,
  verifyTemplate,
} from "../../src/templates/versions.ts";
import { TEMPLATES } from "../../src/paths.ts";
import { diesAt } from "../dies-at.ts";
import { installedHost, VERSION_NAME } from "../installed-host.ts";

const FOLDER = `${TEMPLATES}/debian-base`;
const EPOCH = 1_790_000_000;
const STAMP = "20260921T141320Z";

/** A host with a pool and no template. */
function emptyHost(options: Parameters<typeof installedHost>[0] = {}): MemoryHost {
  const host = installedHost(options);
  host.tree.drop(FOLDER);
  return host;
}

async function build(host: MemoryHost, options: Partial<BuildOptions> = {}, events: ReportEvent[] = []) {
  const definition = await readDefinition(host, "debian-base");
  const request = { mirror: "auto", securityMirror: "auto", sourceDateEpoch: EPOCH, ...options };
  const { manifest } = await buildTemplate(host, definition, request, (event) => events.push(event));
  return manifest;
}

/** The same definition on another day: the mirror has newer packages. */
async function buildNewer(host: MemoryHost, release: number, options: Partial<BuildOptions> = {}) {
  host.script("tar --extract", ({ argv, tree }) =>
    tree.put(`${argv[argv.indexOf("--directory") + 1]}/etc/debian_version`, { text: `13.${release}\n` }),
  );
  return build(host, options);
}

test("a build makes a sealed version with its manifest the current one", async () => {
  const host = emptyHost();
  const manifest = await build(host);
  expect(manifest).toMatchObject({
    schema: 1,
    name: "debian-base",
    version: STAMP,
    suite: "trixie",
    sourceDateEpoch: EPOCH,
    bytes: 104857600,
    packages: { systemd: "257.9-1", ssh: "1:10.0" },
  });
  expect(manifest.digest).toMatch(/^[0-9a-f]{64}$/);
  expect(await readManifest(host, "debian-base", STAMP)).toEqual(manifest);
  expect(await currentVersion(host, "debian-base")).toBe(STAMP);
  expect(await listTemplates(host)).toEqual(["debian-base"]);
  expect(await verifyTemplate(host, "debian-base")).toMatchObject({ ok: true, sealed: true, wanted: manifest.digest });
  expect(await host.list(FOLDER)).toEqual(["rootfs", "versions"]);
  expect(await host.list("/var/lib/opdbus-pve/build")).toEqual([]);
});

test("runs mmdebstrap where its scripts cannot reach the host, and dies with us", async () => {
  const host = emptyHost();
  await build(host, { suite: "bookworm" });
  const command = host.commands.find((line) => line.includes("mmdebstrap")) ?? "";
  expect(command).toMatch(
    /^setpriv --pdeathsig KILL -- unshare --mount --pid --fork --kill-child --mount-proc -- mmdebstrap --mode=unshare --format=tar --variant=minbase --include=systemd,/,
  );
  expect(command).toMatch(/ -- bookworm - 'deb \[signed-by=\S+\] http:\/\/deb\.debian\.org\/debian bookworm main' /);
});

test("says how far it is, forward only", async () => {
  const events: ReportEvent[] = [];
  await build(emptyHost(), {}, events);
  const progress = events.filter((event) => event.kind === "progress");
  expect(progress.map(({ detail, fraction }) => `${fraction} ${detail}`)).toEqual([
    "0.02 running apt-get update",
    "0.08 downloading packages with apt",
    "0.25 extracting archives",
    "0.35 installing essential packages",
    "0.5 installing remaining packages inside the chroot",
    "0.8 running --customize-hook in shell",
    "0.85 cleaning package lists and apt cache",
    "0.87 creating tarball",
    "undefined sealing",
  ]);
});

test("says that a phase goes on when it takes long", async () => {
  vi.useFakeTimers();
  try {
    const host = emptyHost();
    host.script("setpriv", async ({ options }) => {
      options.onLine?.("I: installing remaining packages inside the chroot...");
      await vi.advanceTimersByTimeAsync(7000);
      options.onLine?.("I: cleaning package lists and apt cache...");
      return "a tar stream";
    });
    const events: ReportEvent[] = [];
    await build(host, {}, events);
    await vi.advanceTimersByTimeAsync(60_000);
    const details = events.flatMap((event) => (event.kind === "progress" ? [`${event.fraction} ${event.detail}`] : []));
    const installing = "0.5 installing remaining packages inside the chroot";
    expect(details.slice(0, 4)).toEqual([
      installing,
      `${installing}, 2 s`,
      `${installing}, 6 s`,
      "0.85 cleaning package lists and apt cache",
    ]);
    expect(details.at(-1)).toMatch(/ sealing$/);
  } finally {
    vi.useRealTimers();
  }
});

test("versions of one moment are numbered, and a number is not given twice", async () => {
  const host = emptyHost();
  for (const [index, version] of [STAMP, `${STAMP}.2`, `${STAMP}.3`].entries()) {
    expect((await buildNewer(host, index)).version).toBe(version);
  }
  await pruneBuilt(host, "debian-base", 2);
  expect((await buildNewer(host, 4)).version).toBe(`${STAMP}.4`);
});

test("the same content is the same version, and becomes the current one again", async () => {
  const host = emptyHost();
  const first = await buildNewer(host, 1);
  await buildNewer(host, 2);
  expect(await buildNewer(host, 1)).toEqual(first);
  expect(await currentVersion(host, "debian-base")).toBe(STAMP);
  expect(await host.list(`${FOLDER}/versions`)).toEqual([STAMP, `${STAMP}.2`]);
  expect(await host.list(FOLDER)).toEqual(["rootfs", "versions"]);
});

test("keeps the newest versions, however they are called", async () => {
  const host = emptyHost();
  for (let count = 1; count <= 11; count++) {
    const manifest = await buildNewer(host, count);
    await host.writeText(
      `${FOLDER}/versions/${manifest.version}/manifest.json`,
      JSON.stringify({ ...manifest, builtAt: new Date(EPOCH * 1000 + count).toISOString() }),
    );
  }
  // an older SOURCE_DATE_EPOCH does not make an older build
  const last = (await buildNewer(host, 12, { sourceDateEpoch: EPOCH - 1000 })).version;
  const removed = await pruneBuilt(host, "debian-base", 2);
  expect(removed).toHaveLength(10);
  expect((await listVersions(host, "debian-base")).map(({ version }) => version)).toEqual([`${STAMP}.11`, last]);
});

test("a build removes no version that nobody can build again, nor one of unknown age", async () => {
  const host = emptyHost();
  const manifests = [];
  for (let count = 1; count <= 4; count++) manifests.push(await buildNewer(host, count));
  const [imported, unreadable, built] = manifests.map((manifest) => ({
    manifest,
    file: `${FOLDER}/versions/${manifest.version}/manifest.json`,
  }));
  const { definition: _, ...rest } = imported?.manifest ?? {};
  await host.writeText(
    imported?.file ?? "",
    JSON.stringify({ ...rest, origin: { type: "import", file: "x", sha256: "0" } }),
  );
  await host.writeText(unreadable?.file ?? "", "{");
  expect(await surplusVersions(host, "debian-base", 1)).toEqual([imported?.manifest.version, built?.manifest.version]);
  expect(await pruneBuilt(host, "debian-base", 1)).toEqual([built?.manifest.version]);
});

test("an older version is made the current one again, unless it is gone or opened", async () => {
  const host = emptyHost();
  const [first, second] = [await buildNewer(host, 1), await buildNewer(host, 2)];
  await useVersion(host, "debian-base", first.version);
  expect(await currentVersion(host, "debian-base")).toBe(first.version);
  await expect(useVersion(host, "debian-base", "20200101T000000Z")).rejects.toMatchObject({ exitCode: 3 });
  await host.run(["btrfs", "property", "set", `${FOLDER}/versions/${second.version}/rootfs`, "ro", "false"]);
  await expect(useVersion(host, "debian-base", second.version)).rejects.toMatchObject({ exitCode: 5 });
  expect(await currentVersion(host, "debian-base")).toBe(first.version);
});

test("pruning never takes the current version, also not an old one", async () => {
  const host = emptyHost();
  for (let count = 1; count <= 3; count++) await buildNewer(host, count);
  await host.replaceLink(`versions/${STAMP}/rootfs`, `${FOLDER}/rootfs`);
  expect(await pruneBuilt(host, "debian-base", 1)).toEqual([`${STAMP}.2`]);
  expect(await currentVersion(host, "debian-base")).toBe(STAMP);
});

test.each([
  [
    "setpriv",
    { exitCode: 25, stderr: "E: Unable to locate package nosuch\nE: mmdebstrap failed to run\n" },
    /^Unable to build the template debian-base:\n  E: Unable to locate package nosuch$/,
  ],
  [
    "tar --extract",
    { exitCode: 2, stderr: "tar: ./usr/bin/x: Cannot write: No space left on device\n" },
    /No space left on device/,
  ],
  [
    "setpriv",
    {
      exitCode: 25,
      stderr: "E: Failed to fetch http://deb.debian.org/x  Could not connect\nE: apt-get update failed\n",
    },
    /Failed to fetch[^]*the mirrors were: deb /,
  ],
  ["btrfs property set", 1, /btrfs property set/],
  ["du --summarize", 1, /du --summarize/],
])("a failing %s leaves no trace and says why", async (command, failure, message) => {
  const host = emptyHost();
  host.script(command, failure);
  await expect(build(host)).rejects.toThrow(message);
  expect(await host.list(FOLDER)).toBeUndefined();
  expect(await host.list("/var/lib/opdbus-pve/build").then((names) => names ?? [])).toEqual([]);
  expect(await listTemplates(host)).toEqual([]);
});

test("a failed build leaves the current version current", async () => {
  const host = installedHost({ commands: { setpriv: 1 } });
  await expect(build(host)).rejects.toThrow();
  expect(await currentVersion(host, "debian-base")).toBe(VERSION_NAME);
});

test("what a killed build left is removed by the next, and said", async () => {
  const host = emptyHost();
  host.tree.put(`${FOLDER}/.new-99-1-x/rootfs`, { inode: 256 });
  host.tree.put("/var/lib/opdbus-pve/build/.new-99-1-debian-base/tmp/file", { text: "" });
  const events: ReportEvent[] = [];
  await build(host, {}, events);
  expect(events[0]).toMatchObject({ kind: "say", text: expect.stringContaining(".new-99-1-x") });
  expect(await host.list(FOLDER)).toEqual(["rootfs", "versions"]);
  expect(await host.list("/var/lib/opdbus-pve/build")).toEqual([]);
});

test("a template with a secret in it is not one", async () => {
  const host = emptyHost();
  host.script("tar --extract", ({ argv, tree }) =>
    tree.put(`${argv[argv.indexOf("--directory") + 1]}/etc/ssh/ssh_host_rsa_key`, { text: "secret" }),
  );
  await expect(build(host)).rejects.toThrow("The template holds an SSH host key (/etc/ssh/ssh_host_rsa_key)");
  expect(await host.list(FOLDER)).toBeUndefined();
});

test.each([
  ["a suite that the definition has not", installedHost, { suite: "sid" }, 2, 'cannot be built from "sid"'],
  ["a full disk", () => installedHost({ space: { total: 1, free: 2 ** 20 } }), {}, 1, "only 1 MiB are free"],
] as const)("refuses %s before it begins", async (_, make, options, exitCode, message) => {
  const host = make();
  await expect(build(host, options)).rejects.toMatchObject({ exitCode, message: expect.stringContaining(message) });
  expect(host.changes).toEqual([]);
});

test("a content that was changed, or opened, is not what was built", async () => {
  const host = emptyHost();
  await build(host);
  const rootfs = `${FOLDER}/versions/${STAMP}/rootfs`;
  host.tree.put(`${rootfs}/etc/debian_version`, { text: "evil" });
  expect(await verifyTemplate(host, "debian-base")).toMatchObject({ ok: false, sealed: true });
  host.tree.put(`${rootfs}/etc/debian_version`, { text: "13.2\n" });
  expect(await verifyTemplate(host, "debian-base")).toMatchObject({ ok: true });
  host.tree.put(rootfs, { inode: 256, properties: { ro: "false" } });
  expect(await verifyTemplate(host, "debian-base")).toMatchObject({ ok: false, sealed: false });
});

test("removes a version, not the current one of several, or all", async () => {
  const host = emptyHost();
  await buildNewer(host, 1);
  await buildNewer(host, 2);
  await expect(removeTemplate(host, "debian-base", `${STAMP}.2`)).rejects.toThrow("is the current version");
  expect(await removeTemplate(host, "debian-base", STAMP)).toEqual([STAMP]);
  expect(await removeTemplate(host, "debian-base")).toEqual([`${STAMP}.2`]);
  expect(await host.list(TEMPLATES)).toEqual([]);
  await expect(removeTemplate(host, "debian-base")).rejects.toMatchObject({ exitCode: 3 });
});

test("a version that is not there is told with where the others are listed", async () => {
  await expect(requireVersion(installedHost(), "debian-base", "20200101T000000Z")).rejects.toMatchObject({
    message: "There is no template debian-base in version 20200101T000000Z on this host",
    hint: "op-dbus template show debian-base   # lists its versions",
  });
});

test("a template whose removal was cut off has no current version, is told, and can be removed", async () => {
  const host = emptyHost();
  await buildNewer(host, 1);
  await buildNewer(host, 2);
  await expect(removeTemplate(diesAt(host, 1), "debian-base")).rejects.toThrow("killed");
  await expect(requireVersion(host, "debian-base")).rejects.toThrow("The template debian-base has no current version");
  expect(await describeTemplates(host)).toMatchObject([
    { name: "debian-base", current: null, broken: "the template debian-base has no current version" },
  ]);
  expect(await removeTemplate(host, "debian-base")).toEqual([STAMP, `${STAMP}.2`]);
  expect(await host.list(TEMPLATES)).toEqual([]);
});

test("what is mounted in a template's folder is never removed with it", async () => {
  const host = emptyHost();
  await buildNewer(host, 1);
  const left = `${FOLDER}/.new-77-5-x/rootfs`;
  host.tree.put(`${left}/precious`, { text: "x" });
  const mounts = host.tree.get("/proc/self/mountinfo")?.text ?? "";
  host.tree.put("/proc/self/mountinfo", { text: `${mounts}99 27 0:60 / ${left} rw shared:99 - ext4 /dev/sdc rw\n` });
  await expect(removeTemplate(host, "debian-base")).rejects.toThrow(`something is mounted in it, at ${left}`);
  expect(await host.readText(`${left}/precious`)).toBe("x");
  // it is refused before anything is done: the template is whole
  expect(await currentVersion(host, "debian-base")).toBe(STAMP);
});

test("a prune that fails does not make the build a failure", async () => {
  const host = emptyHost();
  await buildNewer(host, 1);
  await buildNewer(host, 2);
  const old = `${FOLDER}/versions/${STAMP}/rootfs`;
  const mounts = host.tree.get("/proc/self/mountinfo")?.text ?? "";
  host.tree.put("/proc/self/mountinfo", { text: `${mounts}99 27 0:60 / ${old} rw shared:99 - ext4 /dev/sdc rw\n` });
  const events: ReportEvent[] = [];
  host.script("tar --extract", ({ argv, tree }) =>
    tree.put(`${argv[argv.indexOf("--directory") + 1]}/etc/debian_version`, { text: "13.3\n" }),
  );
  const { version } = await build(host, { keep: 2 }, events);
  expect(await currentVersion(host, "debian-base")).toBe(version);
  expect(events).toContainEqual({ kind: "warn", text: expect.stringContaining(`mounted in it, at ${old}`) });
  expect((await listVersions(host, "debian-base")).map((each) => each.version)).toContain(STAMP);
});

test.each([
  ["altered", (host: MemoryHost, rootfs: string) => host.tree.put(`${rootfs}/etc/debian_version`, { text: "evil" })],
  ["gone", (host: MemoryHost, rootfs: string) => host.tree.drop(rootfs)],
  ["opened", (host: MemoryHost, rootfs: string) => host.tree.put(rootfs, { inode: 256 })],
])("a version whose tree is %s is not taken for the one that was built anew", async (_, damage) => {
  const host = emptyHost();
  await build(host);
  damage(host, `${FOLDER}/versions/${STAMP}/rootfs`);
  const rebuilt = await build(host);
  expect(rebuilt.version).toBe(`${STAMP}.2`);
  expect(await verifyTemplate(host, "debian-base")).toMatchObject({ version: `${STAMP}.2`, ok: true });
});

test.each([
  ["is missing", {}, "missing"],
  ["is no JSON", { [`${FOLDER}/versions/1/manifest.json`]: "{" }, "broken"],
  [
    "has no more than a name",
    { [`${FOLDER}/versions/1/manifest.json`]: '{"schema":1,"name":"debian-base"}' },
    "broken",
  ],
  ["is of another schema", { [`${FOLDER}/versions/1/manifest.json`]: '{"schema":2,"name":"debian-base"}' }, "broken"],
])("a manifest that %s is told with its file", async (_, files, what) => {
  const host = memoryHost({ files: { [`${FOLDER}/versions/1/`]: "", ...files } });
  await expect(readManifest(host, "debian-base", "1")).rejects.toThrow(
    `Unable to read the manifest of debian-base 1: ${FOLDER}/versions/1/manifest.json is ${what}`,
  );
  expect(await listVersions(host, "debian-base")).toEqual([{ version: "1", current: false, manifest: undefined }]);
});

test("a link to a version that is gone is no current version", async () => {
  const host = memoryHost({ files: { [`${FOLDER}/rootfs`]: { target: "versions/1/rootfs" } } });
  expect(await currentVersion(host, "debian-base")).toBeUndefined();
  await expect(requireVersion(host, "debian-base")).rejects.toMatchObject({ exitCode: 3 });
});
