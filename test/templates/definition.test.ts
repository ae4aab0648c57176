import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { expect, test } from "vitest";
import { memoryHost } from "../memory-host.ts";
import { isArchive, listDefinitions, type PackagesDefinition, readDefinition } from "../../src/templates/definition.ts";
import { TREE } from "../../src/tree.ts";

const MINE = "/etc/opdbus/templates.d/mine.toml";
const LEAST = 'description = "x"\n[source]\ntype = "mmdebstrap"\nsuites = ["trixie"]\n';

async function read(text: string, file = MINE, name = "mine"): Promise<PackagesDefinition> {
  const definition = await readDefinition(memoryHost({ files: { [file]: text } }), name);
  if (isArchive(definition)) throw new Error("made from an archive");
  return definition;
}

test("the shipped definition can be used as it is", async () => {
  const file = join(TREE, "templates/debian-base.toml");
  const definition = await read(readFileSync(file, "utf8"), file, "debian-base");
  expect(definition).toMatchObject({ name: "debian-base", file, source: { suites: ["trixie", "bookworm"] } });
  expect(definition.packages).toEqual(expect.arrayContaining(["systemd", "openssh-server", "ifupdown"]));
  const firstboot = definition.files.find(({ path }) => path === "/usr/lib/opdbus/firstboot");
  expect(firstboot).toMatchObject({ mode: "755", content: expect.stringMatching(/^#!\/bin\/sh\n/) });
  // what TOML would have taken for its own escapes
  expect(firstboot?.content).toContain(String.raw`printf '%s\n' "$name"`);
  expect(definition.units.enable.every((unit) => definition.files.some(({ path }) => path.endsWith(`/${unit}`)))).toBe(
    true,
  );
});

test.each(["ubuntu-base", "alpine-base"])(
  "the shipped definition %s can be read, and has what a clone needs",
  async (name) => {
    const file = join(TREE, `templates/${name}.toml`);
    const definition = await readDefinition(memoryHost({ files: { [file]: readFileSync(file, "utf8") } }), name);
    const firstboot = definition.files.find(({ path }) => path === "/usr/lib/opdbus/firstboot");
    const { files } = await read(readFileSync(join(TREE, "templates/debian-base.toml"), "utf8"));
    // one script for all of them
    expect(firstboot).toEqual(files.find(({ path }) => path === "/usr/lib/opdbus/firstboot"));
  },
);

test("the definition of Alpine leaves it to the admin which archive is the right one", async () => {
  const file = join(TREE, "templates/alpine-base.toml");
  const definition = await readDefinition(memoryHost({ files: { [file]: readFileSync(file, "utf8") } }), "alpine-base");
  expect(definition.source).toEqual({ type: "archive", url: expect.stringMatching(/^https:.*minirootfs.*x86_64/) });
  const services = definition.files
    .filter(({ path }) => path.startsWith("/etc/init.d/"))
    .map(({ path }) => basename(path));
  for (const service of services) expect(definition.commands.join("\n")).toContain(service);
});

test("what the shipped definition shows in its comments is a definition, and names every key", async () => {
  const shipped = readFileSync(join(import.meta.dirname, "../../templates/debian-base.toml"), "utf8");
  const shown = [...shipped.matchAll(/^# {3}(.*)$/gm)].map(([, line]) => line).join("\n");
  const text = shown.replaceAll("…", "").replace("[source]", '[source]\ntype = "mmdebstrap"\nsuites = ["trixie"]');
  const { root_ssh_keys, commands, users, files, source, units } = await read(`description = "x"\n${text}`);
  expect([root_ssh_keys, commands, users, files, units.disable]).toEqual([
    [expect.any(String)],
    [expect.any(String)],
    [{ name: "deploy", shell: "/bin/bash", groups: ["sudo"], ssh_keys: [expect.any(String)] }],
    [{ path: "/etc/example.conf", mode: "644", content: "text" }],
    ["ssh.service"],
  ]);
  expect(source).toMatchObject({ variant: "minbase", pockets: ["updates", "security"] });
});

test("what is not said has a default", async () => {
  expect(await read(LEAST)).toMatchObject({
    source: { variant: "minbase", components: ["main"] },
    packages: [],
    timezone: "Etc/UTC",
    locale: "C.UTF-8",
    units: { enable: [], disable: [], mask: [] },
    users: [],
    files: [],
    commands: [],
  });
});

test("the digest is that of what is said, whatever its layout and comments", async () => {
  const { digest } = await read(LEAST);
  expect(digest).toMatch(/^[0-9a-f]{64}$/);
  expect((await read(`# a comment\n${LEAST.replace(" = ", "   =   ")}`)).digest).toBe(digest);
  expect((await read(LEAST.replace("trixie", "bookworm"))).digest).not.toBe(digest);
});

test("an admin's own definition comes before the shipped one of the same name", async () => {
  const host = memoryHost({
    files: {
      "/etc/opdbus/templates.d/debian-base.toml": LEAST,
      "/etc/opdbus/templates.d/Bad Name.toml": LEAST,
      "/etc/opdbus/templates.d/notes.txt": "",
      [join(TREE, "templates/debian-base.toml")]: "nonsense",
      [join(TREE, "templates/other.toml")]: LEAST,
    },
  });
  expect((await readDefinition(host, "debian-base")).file).toBe("/etc/opdbus/templates.d/debian-base.toml");
  expect(await listDefinitions(host)).toEqual(["debian-base", "other"]);
  await expect(readDefinition(host, "none")).rejects.toMatchObject({
    exitCode: 2,
    hint: expect.stringContaining("known: debian-base, other"),
  });
});

const file = (path: string, rest = "") => `${LEAST}[[files]]\npath = "${path}"\ncontent = ""\n${rest}`;
const archive = (url: string) => `description = "x"\n[source]\ntype = "archive"\nurl = "${url}"\n`;
const user = (rest: string) => `${LEAST}[[users]]\n${rest}\n`;

test.each([
  ["an unknown key", `packges = []\n${LEAST}`, "line 1: packges: unknown key"],
  ["an unknown key of a table", `${LEAST}suits = []\n`, "line 5: source.suits: unknown key"],
  [
    "an unknown key of an entry",
    file("/etc/x", "owner = 1\n"),
    "line 8: files.0.owner: unknown key; known here: path, mode, content",
  ],
  ["no suite", LEAST.replace('"trixie"', ""), "line 4: source.suites: "],
  ["no source", 'description = "x"\n', "source: "],
  ["another tool", LEAST.replace("mmdebstrap", "docker"), "line 3: source.type: "],
  [
    "a suite that is an option",
    LEAST.replace("trixie", "--mode=root"),
    "line 4: source.suites.0: a suite such as trixie",
  ],
  ["a package that is an option", `packages = ["a", "-x"]\n${LEAST}`, "line 1: packages.1: a package name"],
  ["a package list in a package", `packages = ["a,b"]\n${LEAST}`, "line 1: packages.0: a package name"],
  ["two lines of description", LEAST.replace('"x"', '"x\\ny"'), "line 1: description: one line"],
  ["a path with ..", file("/etc/../../x"), "line 6: files.0.path: a path without . and .."],
  ["a path with a folder that is none", file("/etc/./timezone"), "line 6: files.0.path: a path without . and .."],
  ["a path that is not absolute", file("etc/x"), "line 6: files.0.path: an absolute path"],
  ["a path with a blank", file("/etc/a b"), "line 6: files.0.path: an absolute path"],
  ["a path that is a folder", file("/etc/"), "line 6: files.0.path: an absolute path"],
  [
    "a file twice",
    file("/etc/x", '[[files]]\npath = "/etc/x"\ncontent = ""\n'),
    "line 9: files.1.path: another path: the template has a file /etc/x already",
  ],
  [
    "a file below a file",
    file("/etc/x", '[[files]]\npath = "/etc/x/y"\ncontent = ""\n'),
    "line 9: files.1.path: another",
  ],
  [
    "a file in the place of a folder",
    file("/etc/x/y", '[[files]]\npath = "/etc/x"\ncontent = ""\n'),
    "line 9: files.1",
  ],
  ["a file that a setting makes", file("/etc/timezone"), "line 6: files.0.path: another path"],
  [
    "a file that a list of keys makes",
    `root_ssh_keys = ["ssh-rsa AAAA"]\n${file("/root/.ssh/authorized_keys")}`,
    "line 7: files.0.path: another path",
  ],
  ["a mode that is none", file("/etc/x", 'mode = "888"\n'), "line 8: files.0.mode: an octal mode"],
  ["a mode as a number", file("/etc/x", "mode = 644\n"), "line 8: files.0.mode: "],
  ["a file without content", `${LEAST}[[files]]\npath = "/x"\n`, "line 5: files.0.content: "],
  ["a unit that is a shell text", `units.mask = ["a.service; reboot"]\n${LEAST}`, "line 1: units.mask.0: a unit name"],
  ["a time zone that climbs", `timezone = "../../etc/passwd"\n${LEAST}`, "line 1: timezone: a time zone"],
  ["a user that is a shell text", user('name = "x$(id)"'), "line 6: users.0.name: a user name"],
  [
    "a shell that is a shell text",
    user('name = "x"\nshell = "/bin/sh; id"'),
    "line 7: users.0.shell: an absolute path",
  ],
  ["a group that is an option", user('name = "x"\ngroups = ["-G"]'), "line 7: users.0.groups.0: a group name"],
  [
    "a private key",
    `root_ssh_keys = ["-----BEGIN OPENSSH PRIVATE KEY-----"]\n${LEAST}`,
    "line 1: root_ssh_keys.0: a public SSH key",
  ],
  [
    "a key of two lines",
    `root_ssh_keys = ["ssh-rsa AAAA\\nssh-rsa BBBB"]\n${LEAST}`,
    "line 1: root_ssh_keys.0: a public SSH key",
  ],
  [
    "a key with options before it",
    `root_ssh_keys = ['command="id" ssh-rsa AAAA']\n${LEAST}`,
    "line 1: root_ssh_keys.0: ",
  ],
  [
    "a password in an address",
    archive("https://me:sesame@host/x.tar"),
    "line 4: source.url: an http(s) address without user and password",
  ],
  ["an address that is none", archive("https://[x/y"), "line 4: source.url: an address that can be read as one"],
])("refuses %s, naming file and place", async (_, text, place) => {
  const reading = read(text);
  await expect(reading).rejects.toMatchObject({ exitCode: 2 });
  await expect(reading).rejects.toThrow(`Unable to use ${MINE}:\n  ${place}`);
  await expect(reading).rejects.not.toThrow("sesame");
});

test("names the entry that is wrong, not the first of its kind", async () => {
  const text = `${LEAST}[[files]]\npath = "/etc/one"\ncontent = """\npath = "/a b"\n[files]\n"""\n\n[[files]]\npath = "/etc/b c"\ncontent = ""\n`;
  await expect(read(text)).rejects.toThrow(`Unable to use ${MINE}:\n  line 13: files.1.path: an absolute path`);
});
