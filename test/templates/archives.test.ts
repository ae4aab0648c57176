import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import type { MemoryHost } from "../memory-host.ts";
import { TEMPLATES } from "../../src/paths.ts";
import { TREE } from "../../src/tree.ts";
import type { ReportEvent } from "../../src/report/report.ts";
import { buildTemplate, type BuildOptions } from "../../src/templates/build.ts";
import { readDefinition } from "../../src/templates/definition.ts";
import { exportTemplate } from "../../src/templates/export.ts";
import { importTemplate } from "../../src/templates/import.ts";
import { currentVersion, listTemplates, listVersions, readManifest } from "../../src/templates/manifest.ts";
import { findRefreshable, refreshTemplate } from "../../src/templates/refresh.ts";
import { pruneTemplate, surplusVersions } from "../../src/templates/versions.ts";
import { diesAt } from "../dies-at.ts";
import { installedHost, VERSION_NAME } from "../installed-host.ts";
import { tar } from "../tar-writer.ts";

const MARKER = '{"schema":1,"name":"web","version":"20261101T120000Z","suite":"trixie"}\n';
const ARCHIVE = tar({ name: "./", type: "5" }, { name: "./etc/opdbus/template.json", data: MARKER }).toString("latin1");
const SHA256 = createHash("sha256").update(Buffer.from(ARCHIVE, "latin1")).digest("hex");
const BUILD = "/var/lib/opdbus-pve/build";
const silent = () => {};

const hostWithArchive = () => installedHost({ files: { "/root/web.tar": ARCHIVE } });

async function take(
  host: Parameters<typeof importTemplate>[0],
  options: { source?: string; sha256?: string; name?: string } = {},
) {
  return (await importTemplate(host, { name: "web", source: "/root/web.tar", ...options }, silent)).manifest;
}

test("an archive becomes the current version, and says where it came from and what it claims to be", async () => {
  const host = hostWithArchive();
  const manifest = await take(host, { sha256: SHA256.toUpperCase() });
  expect(manifest).toMatchObject({
    name: "web",
    version: "20261101T120000Z",
    origin: { type: "import", file: "web.tar", sha256: SHA256, claims: { name: "web", version: "20261101T120000Z" } },
  });
  expect(manifest.suite).toBeUndefined();
  expect(await readManifest(host, "web", manifest.version)).toEqual(manifest);
  expect(await currentVersion(host, "web")).toBe(manifest.version);
  expect(await host.list(BUILD)).toEqual([]);
  // what nobody else can touch is what was unpacked
  const unpacked = host.changes.find((change) => change.includes(" | setpriv"));
  expect(unpacked).toMatch(
    new RegExp(`^run cat -- ${BUILD}/\\.new-\\d+-4242-web/archive \\| setpriv .* unshare --mount `),
  );
});

test.each([
  ["of which the marker is no claim of ours", '{"name":"../etc","version":"20261101T120000Z"}'],
  ["of which the marker has no version", '{"name":"web","version":"latest"}'],
  ["whose marker is no JSON", "{"],
])("an archive %s is a version of today", async (_, marker) => {
  const archive = tar({ name: "etc/opdbus/template.json", data: marker }).toString("latin1");
  const { version, origin } = await take(installedHost({ files: { "/root/web.tar": archive } }));
  expect(version).toMatch(/^\d{8}T\d{6}Z$/);
  expect(version).not.toBe("20261101T120000Z");
  expect(origin).not.toHaveProperty("claims");
});

test.each([
  [
    "another file than was wanted",
    { sha256: "0".repeat(64) },
    ARCHIVE,
    5,
    "/root/web.tar is not what was wanted: its SHA-256 is ",
  ],
  ["no file", { source: "/root/none.tar" }, ARCHIVE, 1, "Unable to get /root/none.tar"],
  ["what climbs", {}, tar({ name: "../x" }).toString("latin1"), 5, 'the member "../x" leads out of the tree'],
  ["what is no archive", {}, "hello", 5, "it is cut short"],
])("%s is refused, and leaves no trace", async (_, options, archive, exitCode, message) => {
  const host = installedHost({ files: { "/root/web.tar": archive } });
  await expect(take(host, options)).rejects.toMatchObject({ exitCode, message: expect.stringContaining(message) });
  expect(await listTemplates(host)).toEqual(["debian-base"]);
  expect(await host.list(`${TEMPLATES}/web`)).toBeUndefined();
  expect(await host.list(BUILD)).toEqual([]);
  expect(host.changes.some((change) => change.includes("tar --extract"))).toBe(false);
});

test("the same content in another archive is the version that is there, and the archive is told by its own digest", async () => {
  const host = hostWithArchive();
  const first = await take(host);
  const padded = `${ARCHIVE}${"\0".repeat(512)}`;
  host.tree.put("/root/padded.tar", { text: padded });
  const again = await importTemplate(host, { name: "web", source: "/root/padded.tar" }, silent);
  expect(again.manifest).toEqual(first);
  expect(again.sha256).toBe(createHash("sha256").update(padded, "latin1").digest("hex"));
  expect(again.sha256).not.toBe(SHA256);
});

test("an archive that is larger than the room there is, is refused before it is copied", async () => {
  const host = installedHost({ files: { "/root/web.tar": ARCHIVE }, space: { total: 2 ** 30, free: 2 ** 26 + 100 } });
  await expect(take(host)).rejects.toThrow("larger than 100 bytes");
});

test("a compression whose program is missing is told with its package", async () => {
  const host = installedHost({
    files: { "/root/web.tar": "\u00FD7zXZ\0" },
    commands: { "xz --decompress": { exitCode: 127, stderr: "xz: command not found" } },
  });
  await expect(take(host)).rejects.toMatchObject({
    exitCode: 3,
    message: "xz is missing on this host",
    hint: "apt-get install --no-install-recommends xz-utils",
  });
});

/** Cuts work off before each of its changes; tells for each what state it left. */
async function cutOff<State>(
  fresh: () => MemoryHost,
  work: (host: Parameters<typeof importTemplate>[0]) => Promise<unknown>,
  look: (host: MemoryHost, cut: number) => Promise<State>,
): Promise<number> {
  for (let cut = 0; ; cut++) {
    const host = fresh();
    const ended = await work(diesAt(host, cut)).then(
      () => true,
      (error: unknown) => {
        expect(error).toMatchObject({ message: expect.stringContaining("killed") });
        return false;
      },
    );
    // a lock of a dead process is nobody's
    await look(host, cut);
    if (ended) return cut;
  }
}

test("an import that is killed at any moment leaves nothing or all, and the next one clears up", async () => {
  const cuts = await cutOff(hostWithArchive, take, async (host) => {
    const current = await currentVersion(host, "web");
    if (current !== undefined)
      expect(await readManifest(host, "web", current)).toMatchObject({ digest: expect.any(String) });
    expect(await currentVersion(host, "debian-base")).toBe(VERSION_NAME);
    const later = laterHost(host);
    await take(later);
    expect(await currentVersion(host, "web")).toMatch(/^20261101T120000Z/);
    expect(await host.list(`${TEMPLATES}/web`)).toEqual(["rootfs", "versions"]);
    expect(await host.list(BUILD)).toEqual([]);
  });
  expect(cuts).toBeGreaterThan(15);
});

/** The same machine for another process: what the killed one had under way is abandoned. */
function laterHost(host: MemoryHost): MemoryHost {
  host.tree.put(`/proc/${process.pid}/stat`, {
    text: `${process.pid} (node) S 1 1 1 0 -1 4194560 1 0 0 0 1 1 0 0 20 0 11 0 9999 1 1\n`,
  });
  return host;
}

test("an export writes the file whole, with its digest beside it", async () => {
  const host = installedHost({ files: { "/srv/": "" } });
  const done = await exportTemplate(host, { name: "debian-base", output: "/srv/x.tar.zst" }, silent);
  expect(done).toMatchObject({ version: VERSION_NAME, digest: "0".repeat(64), file: "/srv/x.tar.zst" });
  expect(await host.readText("/srv/x.tar.zst.sha256")).toBe(`${done.sha256}  x.tar.zst\n`);
  expect(await host.digest("/srv/x.tar.zst")).toBe(done.sha256);
  expect(await host.list("/srv")).toEqual(["x.tar.zst", "x.tar.zst.sha256"]);
});

test("an export clears up after killed ones to the same file, and after nothing else", async () => {
  const others = [".new-7-7-y.tar.zst", "x.tar.zst.tmp", ".new-7-7-x.tar.zst-not"];
  const files = Object.fromEntries([...others, ".new-7-7-x.tar.zst"].map((name) => [`/srv/${name}`, "theirs"]));
  const host = installedHost({ files });
  await exportTemplate(host, { name: "debian-base", output: "/srv/x.tar.zst" }, silent);
  expect(await host.list("/srv")).toEqual([...others, "x.tar.zst", "x.tar.zst.sha256"].toSorted());
});

test("an export that is killed leaves the old file or the new one, and the next one clears up", async () => {
  const old = "an older export";
  const fresh = () => installedHost({ files: { "/srv/x.tar.zst": old } });
  const work = (host: Parameters<typeof importTemplate>[0]) =>
    exportTemplate(host, { name: "debian-base", output: "/srv/x.tar.zst" }, silent);
  await cutOff(fresh, work, async (host) => {
    expect(await host.readText("/srv/x.tar.zst")).toMatch(/^(an older export$| \n)/);
    await work(host);
    expect(await host.list("/srv")).toEqual(["x.tar.zst", "x.tar.zst.sha256"]);
  });
});

test.each([
  [
    "an opened version",
    { [`${TEMPLATES}/debian-base/versions/${VERSION_NAME}/rootfs`]: { inode: 256 } },
    {},
    5,
    "not sealed",
  ],
  ["a folder in the place of the file", { "/srv/x.tar.zst/": "" }, {}, 2, "it is a folder"],
  ["a link in the place of the file", { "/srv/x.tar.zst": { target: "/etc/x" } }, {}, 2, "it is a link"],
  [
    "a missing zstd",
    { "/srv/": "" },
    { "tar --create": { exitCode: 2, stderr: "tar (child): zstd: Cannot exec: No such file\n" } },
    3,
    "zstd is missing",
  ],
  [
    "a full disk",
    { "/srv/": "" },
    {
      "tar --create": {
        exitCode: 2,
        stderr: "zstd: error 70: No space left on device\ntar: Error is not recoverable: exiting now\n",
      },
    },
    1,
    "No space left",
  ],
])("an export with %s says so, and leaves nothing", async (_, files, commands, exitCode, message) => {
  const host = installedHost({ files, commands });
  const exporting = exportTemplate(host, { name: "debian-base", output: "/srv/x.tar.zst" }, silent);
  await expect(exporting).rejects.toMatchObject({ exitCode, message: expect.stringContaining(message) });
  expect((await host.list("/srv"))?.filter((name) => name !== "x.tar.zst") ?? []).toEqual([]);
});

const URL = "https://example.org/web.tar";
const OWN = "/etc/opdbus/templates.d/web.toml";
const TINY = `description = "x"\ncommands = ["true"]\n[source]\ntype = "archive"\nurl = "${URL}"\n`;
const WITH_HASH = `${TINY}sha256 = "${SHA256}"\n`;
const MIRRORS = { mirror: "auto", securityMirror: "auto" };

function hostWithDefinition(text = WITH_HASH, network: Record<string, string> = { [URL]: ARCHIVE }): MemoryHost {
  return installedHost({ files: { [OWN]: text }, commands: { "sh -c": "a tar stream" }, network });
}

async function build(host: MemoryHost, options: Partial<BuildOptions> = {}, events: ReportEvent[] = []) {
  const request = { ...MIRRORS, sourceDateEpoch: 1_790_000_000, ...options };
  const built = await buildTemplate(host, await readDefinition(host, "web"), request, (event) => events.push(event));
  return built.manifest;
}

test("a template of an archive is brought, looked through, finished in a user namespace, and says what it was made from", async () => {
  const host = hostWithDefinition();
  expect(await build(host)).toMatchObject({
    origin: { type: "archive", url: URL, sha256: SHA256 },
    sourceDateEpoch: 1_790_000_000,
  });
  const finishing = host.commands.find((line) => line.startsWith("sh -c")) ?? "";
  expect(finishing).toMatch(
    /setpriv --pdeathsig KILL -- unshare --map-users=auto --map-groups=auto --setuid=0 --setgid=0 .* -- setpriv --pdeathsig KILL -- sh -c /,
  );
  expect(await host.list("/var/lib/opdbus-pve/downloads")).toEqual([]);
  expect(await host.list(BUILD)).toEqual([]);
});

test("a token in the address, and what is in files, stay with the build", async () => {
  const secret = `${URL}?token=sesame`;
  const files = '[[files]]\npath = "/root/secret"\nmode = "600"\ncontent = "sesame"\n';
  const host = hostWithDefinition(`${WITH_HASH.replace(URL, secret)}${files}`, { [secret]: ARCHIVE });
  const modes: (number | undefined)[] = [];
  const making = host.run.bind(host);
  host.run = async (argv, ...rest) => {
    const [, folder] = /^(\/.*\/overlay)\//.exec(argv.find((word) => word.includes("/overlay/")) ?? "") ?? [];
    if (folder !== undefined) modes.push((await host.stat(folder))?.mode);
    return making(argv, ...rest);
  };
  const events: ReportEvent[] = [];
  const manifest = await build(host, {}, events);
  expect(manifest.origin).toEqual({ type: "archive", url: `${URL}?…`, sha256: SHA256 });
  expect(modes).toEqual([0o700]);
  expect(JSON.stringify([manifest, events, host.commands])).not.toContain("sesame");
});

test("an archive that is here already is not downloaded again", async () => {
  const host = hostWithDefinition(WITH_HASH, {});
  host.tree.put(`/var/lib/opdbus-pve/downloads/web/${SHA256}`, { text: ARCHIVE });
  expect(await build(host)).toMatchObject({ origin: { sha256: SHA256 } });
});

test("a part of another file costs one more download, and parts of what is not wanted go", async () => {
  const host = hostWithDefinition();
  host.tree.put("/var/lib/opdbus-pve/downloads/web/old", { text: "x" });
  host.tree.put(`/var/lib/opdbus-pve/downloads/web/${SHA256}`, { text: "y" });
  expect(await build(host)).toMatchObject({ origin: { sha256: SHA256 } });
  expect(await host.list("/var/lib/opdbus-pve/downloads")).toEqual([]);
});

test("an archive that is not the one that was wanted is removed, and nothing of it unpacked", async () => {
  const host = hostWithDefinition(WITH_HASH, { [URL]: "another" });
  await expect(build(host)).rejects.toMatchObject({
    exitCode: 5,
    message: expect.stringContaining("is not what was wanted"),
  });
  expect(await host.list("/var/lib/opdbus-pve/downloads/web")).toEqual([]);
  expect(await currentVersion(host, "web")).toBeUndefined();
});

test("a build that fails keeps what was downloaded for the next", async () => {
  const host = hostWithDefinition();
  host.script("sh -c", { exitCode: 1, stderr: "/.opdbus-finish: line 3: nope: not found\n" });
  await expect(build(host)).rejects.toThrow("nope: not found");
  expect(await host.list("/var/lib/opdbus-pve/downloads/web")).toEqual([SHA256]);
});

test.each([
  ["nothing says which archive is the right one", TINY, {}, 3, `must have: ${URL}`],
  ["a suite of an archive", WITH_HASH, { suite: "trixie" }, 2, "--suite is not for the template web"],
  ["another SHA-256 than the definition's", WITH_HASH, { sha256: "0".repeat(64) }, 2, "its definition says"],
])("%s is refused before anything is done", async (_, text, options, exitCode, message) => {
  const host = hostWithDefinition(text);
  await expect(build(host, options)).rejects.toMatchObject({ exitCode, message: expect.stringContaining(message) });
  expect(host.changes).toEqual([]);
});

test.each([
  ['packages = ["x"]', "packages"],
  ['timezone = "Etc/UTC"', "timezone"],
  ['locale = "C.UTF-8"', "locale"],
  ["users = []", "users"],
  ['units = { enable = ["x.service"] }', "units"],
])("what an archive cannot have is refused with the reason: %s", async (line, key) => {
  await expect(readDefinition(hostWithDefinition(`${line}\n${WITH_HASH}`), "web")).rejects.toThrow(
    `line 1: ${key}: is not for an archive, which may be of any system; say it in commands`,
  );
});

test.each([
  ["suites", 'suites = ["trixie"]', "source.suites: is not for an archive"],
  ["a key of nobody", "frob = 1", "source.frob: unknown key"],
  ["a hash that is none", 'sha256 = "abc"', "source.sha256: a SHA-256"],
])("a source of an archive with %s is refused", async (_, line, message) => {
  await expect(readDefinition(hostWithDefinition(`${TINY}${line}\n`), "web")).rejects.toThrow(message);
});

test.each(["ftp://x/y", "file:///etc/x", "relative.tar", "/a/../b c", "https://"])(
  "%s is no address of an archive",
  async (url) => {
    await expect(readDefinition(hostWithDefinition(TINY.replace(URL, url)), "web")).rejects.toThrow(
      "source.url: an http(s) address",
    );
  },
);

test("surplus versions are named, and pruned, and the current one stays", async () => {
  const host = hostWithArchive();
  await take(host);
  host.script("tar --extract", ({ argv, tree }) =>
    tree.put(`${argv[argv.indexOf("--directory") + 1]}/etc/debian_version`, { text: "14\n" }),
  );
  await take(host);
  expect(await surplusVersions(host, "web", 1)).toEqual(["20261101T120000Z"]);
  // only what was asked about goes
  expect(await pruneTemplate(host, "web", { keep: 1, versions: ["20261101T120000Z.2"] })).toEqual([]);
  const asked = { keep: 1, versions: ["20261101T120000Z"] };
  expect(await pruneTemplate(host, "web", asked)).toEqual(["20261101T120000Z"]);
  expect((await listVersions(host, "web")).map(({ version }) => version)).toEqual(["20261101T120000Z.2"]);
  expect(await pruneTemplate(host, "web", asked)).toEqual([]);
});

test("only the program's own templates are refreshed", async () => {
  const host = hostWithArchive();
  await take(host);
  await take(host, { name: "debian-extra" });
  const reasonOf = async (name: string) => {
    const found = await findRefreshable(host, name);
    return "reason" in found ? found.reason : "to be built";
  };
  expect(await reasonOf("web")).toBe("it was imported from web.tar");
  expect(await reasonOf("debian-base")).toBe("to be built");
  expect(await reasonOf("nothing")).toBe("it has no current version");
  host.tree.put("/etc/opdbus/templates.d/debian-base.toml", { text: "broken" });
  expect(await reasonOf("debian-base")).toBe("its definition is your own");
  host.tree.drop("/etc/opdbus/templates.d/debian-base.toml");
  await take(host, { name: "debian-base" });
  expect(await reasonOf("debian-base")).toBe("it was imported from web.tar");
});

test("a refresh trusts the archive that was trusted, unless the definition names another, or another address", async () => {
  const other = tar({ name: "./", type: "5" }, { name: "./etc/issue", data: "2" }).toString("latin1");
  const shipped = `${TREE}/templates/web.toml`;
  const host = installedHost({
    files: { [shipped]: { text: TINY } },
    commands: { "sh -c": "a tar stream" },
    network: { [URL]: ARCHIVE, [`${URL}?v=2`]: other },
  });
  const refresh = async () => {
    const found = await findRefreshable(host, "web");
    if ("reason" in found) throw new Error(found.reason);
    return refreshTemplate(host, found, MIRRORS, silent);
  };
  await build(host, { sha256: SHA256 });
  expect(await refresh()).toMatchObject({ result: "unchanged" });
  host.tree.put(shipped, { text: TINY.replace(URL, `${URL}?v=2`) });
  await expect(refresh(), "an address that is not kept whole").rejects.toMatchObject({ exitCode: 3 });
  const sha256 = createHash("sha256").update(other, "latin1").digest("hex");
  host.tree.put(shipped, { text: `${TINY.replace(URL, `${URL}?v=2`)}sha256 = "${sha256}"\n` });
  host.forget();
  await refresh();
  expect(host.changes).toContainEqual(expect.stringContaining(`obtain ${URL}?v=2 to `));
});

test("a refreshed template is unchanged when it comes out the same, and a new version otherwise", async () => {
  const host = installedHost();
  const refresh = async () => {
    const found = await findRefreshable(host, "debian-base");
    if ("reason" in found) throw new Error(found.reason);
    return refreshTemplate(host, found, MIRRORS, silent);
  };
  // that of another definition
  const first = await refresh();
  expect(first).toMatchObject({ result: "rebuilt" });
  expect(await refresh()).toEqual({ name: "debian-base", result: "unchanged", version: first.version });
  host.script("tar --extract", ({ argv, tree }) =>
    tree.put(`${argv[argv.indexOf("--directory") + 1]}/etc/debian_version`, { text: "14\n" }),
  );
  const third = await refresh();
  expect(third).toMatchObject({ result: "rebuilt" });
  expect(await currentVersion(host, "debian-base")).toBe(third.version);
  expect(await host.list(`${TEMPLATES}/debian-base`)).toEqual(["rootfs", "versions"]);
});
