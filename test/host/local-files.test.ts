import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { expect, test } from "vitest";
import { localHost } from "../../src/host/local-host.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

const host = localHost(new AbortController().signal);

test("writes a file whole, with its mode and owner", async () => {
  const path = join(temporaryDirectory(), "secret");
  await host.writeText(path, "one\n");
  expect(fs.statSync(path)).toMatchObject({ uid: process.getuid?.(), gid: process.getgid?.() });
  expect(await host.stat(path)).toMatchObject({ type: "file", mode: 0o644, size: 4 });
  await host.writeText(path, "two\n", { mode: 0o600, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 });
  expect(await host.readText(path)).toBe("two\n");
  expect(await host.stat(path)).toMatchObject({ mode: 0o600 });
});

test.skipIf(process.getuid?.() !== 0)(
  "gives a file to somebody else, and keeps a set-uid bit that was asked for",
  async () => {
    const path = join(temporaryDirectory(), "file");
    await host.writeText(path, "", { mode: 0o4755, uid: 1234, gid: 4321 });
    expect(await host.stat(path)).toMatchObject({ mode: 0o4755, uid: 1234, gid: 4321 });
    await host.setAttributes(path, { gid: 7 });
    expect(await host.stat(path)).toMatchObject({ uid: 1234, gid: 7 });
  },
);

test("a reader of the old file keeps reading the old text", async () => {
  const path = join(temporaryDirectory(), "file");
  await host.writeText(path, "old");
  const reader = fs.openSync(path, "r");
  await host.writeText(path, "new");
  expect(fs.readFileSync(reader, "utf8")).toBe("old");
  fs.closeSync(reader);
});

test("replaces a link by a file instead of writing to what it points to", async () => {
  const folder = temporaryDirectory();
  fs.writeFileSync(join(folder, "elsewhere"), "mine");
  fs.symlinkSync(join(folder, "elsewhere"), join(folder, "link"));
  await host.writeText(join(folder, "link"), "ours");
  expect(fs.readFileSync(join(folder, "elsewhere"), "utf8")).toBe("mine");
  expect(await host.stat(join(folder, "link"))).toMatchObject({ type: "file" });
});

test.each([
  ["writeText", (path: string) => host.writeText(path, "text")],
  ["replaceLink", (path: string) => host.replaceLink("/somewhere", path)],
])("%s leaves nothing beside a path that it cannot take", async (_, change) => {
  const folder = temporaryDirectory();
  fs.mkdirSync(join(folder, "taken", "inside"), { recursive: true });
  await expect(change(join(folder, "taken"))).rejects.toThrow(
    `Unable to change ${join(folder, "taken")}: it is a folder`,
  );
  expect(fs.readdirSync(folder)).toEqual(["taken"]);
});

test("makes a new file in place, and never one that is there", async () => {
  const path = join(temporaryDirectory(), "file");
  await host.createText(path, "first", { mode: 0o600 });
  const refused = { message: `Unable to change ${path}: something is there already`, cause: { code: "EEXIST" } };
  await expect(host.createText(path, "second")).rejects.toMatchObject(refused);
  expect(await host.readText(path)).toBe("first");
});

test("appends, and makes the file closed to others", async () => {
  const path = join(temporaryDirectory(), "journal");
  await host.appendText(path, "one\n");
  await host.appendText(path, "two\n");
  expect(await host.readText(path)).toBe("one\ntwo\n");
  expect(await host.stat(path)).toMatchObject({ mode: 0o600 });
});

test("makes a directory with its parents, and sets the mode also where it exists", async () => {
  const path = join(temporaryDirectory(), "a", "b");
  await host.makeDirectory(path, { mode: 0o700 });
  expect(await host.stat(path)).toMatchObject({ type: "directory", mode: 0o700 });
  await host.makeDirectory(path, { mode: 0o751 });
  expect(await host.stat(path)).toMatchObject({ mode: 0o751 });
});

test("a link reserves a name: the second one fails", async () => {
  const path = join(temporaryDirectory(), "name");
  await host.makeLink("/one", path);
  await expect(host.makeLink("/two", path)).rejects.toMatchObject({ cause: { code: "EEXIST" } });
  expect(await host.readLink(path)).toBe("/one");
});

test("points a link somewhere else, and makes it where it is missing", async () => {
  const folder = temporaryDirectory();
  await host.replaceLink("/one", join(folder, "link"));
  await host.replaceLink("/two", join(folder, "link"));
  expect(await host.readLink(join(folder, "link"))).toBe("/two");
  expect(fs.readdirSync(folder)).toEqual(["link"]);
});

test("renames, and refuses to take the place of a folder that is not empty", async () => {
  const folder = temporaryDirectory();
  fs.mkdirSync(join(folder, "from"));
  fs.mkdirSync(join(folder, "to", "inside"), { recursive: true });
  await expect(host.rename(join(folder, "from"), join(folder, "to"))).rejects.toMatchObject({
    message: `Unable to change ${join(folder, "to")}: the folder is not empty`,
  });
  await host.rename(join(folder, "from"), join(folder, "new"));
  expect(fs.readdirSync(folder)).toEqual(["new", "to"]);
});

test("a place where nothing can be made is told, with the path that was meant", async () => {
  const folder = temporaryDirectory();
  fs.writeFileSync(join(folder, "file"), "");
  for (const [parent, why] of [
    ["none", "it, or a folder on the way to it, is missing"],
    ["file", "a part of its path is no folder"],
  ]) {
    const path = join(folder, parent ?? "", "new");
    const refused = { name: "UserError", message: `Unable to change ${path}: ${why}`, hint: `namei -l ${path}` };
    await expect(host.writeText(path, "x")).rejects.toMatchObject(refused);
    await expect(host.makeLink("x", path)).rejects.toMatchObject(refused);
    await expect(host.replaceLink("x", path)).rejects.toMatchObject(refused);
  }
});

test("a rename of what is not there names that, and not where it would go", async () => {
  const folder = temporaryDirectory();
  const from = join(folder, "a b");
  await expect(host.rename(from, join(folder, "to"))).rejects.toMatchObject({
    message: `Unable to change ${from}: it, or a folder on the way to it, is missing`,
    hint: `namei -l '${from}'`,
  });
});

test("what the machine refuses for a reason that is rare is told with the machine's own words", async () => {
  const path = join(temporaryDirectory(), "file");
  fs.writeFileSync(path, "");
  await expect(host.rename(path, "/proc/self/comm")).rejects.toMatchObject({
    name: "UserError",
    message: expect.stringMatching(/^Unable to change \/proc\/self\/comm: EXDEV: /),
    hint: expect.stringContaining("dmesg"),
  });
});

test("removes a tree, but not what links in it point to", async () => {
  const folder = temporaryDirectory();
  fs.mkdirSync(join(folder, "kept"));
  fs.writeFileSync(join(folder, "kept", "file"), "");
  fs.mkdirSync(join(folder, "tree", "deep"), { recursive: true });
  fs.symlinkSync(join(folder, "kept"), join(folder, "tree", "deep", "link"));
  await host.remove(join(folder, "tree"));
  await host.remove(join(folder, "tree"));
  expect(fs.readdirSync(folder)).toEqual(["kept"]);
  expect(fs.readdirSync(join(folder, "kept"))).toEqual(["file"]);
});

test("what is not there is undefined, also below a file", async () => {
  const folder = temporaryDirectory();
  fs.writeFileSync(join(folder, "file"), "");
  for (const path of [join(folder, "none"), join(folder, "file", "none")]) {
    expect(await host.readText(path)).toBeUndefined();
    expect(await host.stat(path)).toBeUndefined();
    expect(await host.list(path)).toBeUndefined();
    expect(await host.readLink(path)).toBeUndefined();
    expect(await host.digest(path)).toBeUndefined();
  }
  expect(await host.readLink(join(folder, "file"))).toBeUndefined();
  expect(await host.list(join(folder, "file"))).toBeUndefined();
});

test("does not follow a link when it says what is there, and lists names in order", async () => {
  const folder = temporaryDirectory();
  fs.symlinkSync("nowhere", join(folder, "b"));
  fs.writeFileSync(join(folder, "a"), "");
  expect(await host.stat(join(folder, "b"))).toMatchObject({ type: "link" });
  expect(await host.list(folder)).toEqual(["a", "b"]);
});

test("digests the bytes of a file of more than one chunk", async () => {
  const path = join(temporaryDirectory(), "big");
  const bytes = Buffer.alloc(3_000_001, "x");
  fs.writeFileSync(path, bytes);
  expect(await host.digest(path)).toBe(createHash("sha256").update(bytes).digest("hex"));
});

// Real mounts, in a mount namespace that ends with the command.
const canMount = spawnSync("unshare", ["-m", "mount", "-t", "tmpfs", "none", "/mnt"]).status === 0;

/** Runs some statements, which know `host`, after some of a shell's that mount. */
function inMountNamespace(mount: string, statements: string) {
  const argv = ["-m", "sh", "-c", `${mount}; exec "$@"`, "sh", process.execPath, "--input-type=module", "-e"];
  return spawnSync("unshare", [...argv, `${WITH_HOST}${statements}`], { encoding: "utf8" });
}

const WITH_HOST = `
  import { localHost } from ${JSON.stringify(join(import.meta.dirname, "../../src/host/local-host.ts"))};
  const host = localHost(new AbortController().signal);
`;

test.skipIf(!canMount).each([
  ["read-only", "mount -t tmpfs -o ro none /mnt", "the file system is read-only"],
  [
    "full",
    "mount -t tmpfs -o size=64k none /mnt; head -c 64k /dev/zero >/mnt/fill || true",
    "no space is left on the disk",
  ],
])("a file system that is %s is told as such, with the path that was meant", (_, mount, why) => {
  const { stdout } = inMountNamespace(
    mount,
    `for (const change of [host.writeText("/mnt/file", "text".repeat(9999)), host.makeLink("x", "/mnt/link")]) {
      await change.catch(({ name, message, hint }) => console.log(name + ": " + message + " " + /-[hT] \\/mnt;/.test(hint)));
    }`,
  );
  expect(stdout.split("\n")[0]).toBe(`UserError: Unable to change /mnt/file: ${why} true`);
  if (why.includes("read-only")) expect(stdout).toContain(`UserError: Unable to change /mnt/link: ${why} true`);
});

test.skipIf(!canMount).each([
  ["in", "/mnt/tree", "umount /mnt/tree/data"],
  ["on", "/mnt/tree/data", "umount /mnt/tree/data"],
])("what is mounted %s a folder is somebody's data, and keeps all of it from being removed", (_, path, hint) => {
  const { stdout } = inMountNamespace(
    "mount -t tmpfs none /mnt; mkdir -p /mnt/tree/data; touch /mnt/tree/ours; mount -t tmpfs none /mnt/tree/data; touch /mnt/tree/data/theirs",
    `await host.remove(${JSON.stringify(path)}).catch(({ name, message, hint }) => console.log([name, message, hint].join("\\n")));
     console.log(await host.list("/mnt/tree"), await host.list("/mnt/tree/data"));`,
  );
  expect(stdout).toMatch(
    /^UserError\nUnable to remove \S+: something is mounted (on it|in it, at \/mnt\/tree\/data)\n/,
  );
  expect(stdout).toContain(hint);
  expect(stdout).toContain("[ 'data', 'ours' ] [ 'theirs' ]");
});

test.skipIf(!canMount)("a folder that cannot be removed says why", () => {
  const { stdout } = inMountNamespace(
    "mount -t tmpfs none /mnt; mkdir /mnt/tree; mount -o remount,ro /mnt",
    `await host.remove("/mnt/tree").catch(({ name, message }) => console.log(name + ": " + message));`,
  );
  expect(stdout).toBe("UserError: Unable to change /mnt/tree: the file system is read-only\n");
});

test("two processes that clear away what a third one left do not meet", async () => {
  const folder = temporaryDirectory();
  const source = `${WITH_HOST}
    import { writeFileSync } from "node:fs";
    const [folder, me] = process.argv.slice(1);
    for (let round = 0; round < 200; round++) {
      for (let i = 0; i < 20; i++) writeFileSync(folder + "/.file.opdbus-4194304999-" + i, "");
      await host.writeText(folder + "/file", me);
    }`;
  const writers = ["1", "2"].map((me) => execa(process.execPath, ["--input-type=module", "-e", source, folder, me]));
  await Promise.all(writers);
  expect(await host.readText(join(folder, "file"))).toMatch(/^[12]$/);
});
