import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { loadSettings } from "../../src/config/load-settings.ts";
import { parseToml } from "../../src/config/toml.ts";
import { settingsSchema, sizeBytes } from "../../src/config/settings.ts";
import { memoryHost } from "../memory-host.ts";

const MAIN = "/etc/opdbus/opdbus.toml";

function load(files: Record<string, string>, file?: string) {
  return loadSettings(memoryHost({ files }), file);
}

test("without a file the defaults hold", async () => {
  expect(await load({})).toEqual({
    pool: {},
    templates: {
      install: ["debian-base"],
      mirror: "auto",
      security_mirror: "auto",
      ubuntu_mirror: "auto",
      ubuntu_security_mirror: "auto",
      keep: 2,
    },
    container: {
      defaults: { template: "debian-base", cores: 2, memory_mib: 2048, swap_mib: 512 },
      limits: "enforce",
    },
  });
});

test("drop-ins win over the file in the order of their names, key by key", async () => {
  const { templates, container } = await load({
    [MAIN]: '[templates]\nkeep = 3\nmirror = "http://a.example"\n[container.defaults]\ncores = 1\nmemory_mib = 100\n',
    "/etc/opdbus/conf.d/20-late.toml": "[container.defaults]\ncores = 4\n",
    "/etc/opdbus/conf.d/10-early.toml": 'container.defaults.cores = 3\ncontainer.limits = "best-effort"\n',
    "/etc/opdbus/conf.d/15-list.toml": '[templates]\ninstall = ["web"]\n',
    "/etc/opdbus/conf.d/.99-hidden.toml": "[templates]\nkeep = 9\n",
    "/etc/opdbus/conf.d/99-editor.toml~": "nonsense",
  });
  expect(templates).toEqual({
    install: ["web"],
    mirror: "http://a.example",
    security_mirror: "auto",
    ubuntu_mirror: "auto",
    ubuntu_security_mirror: "auto",
    keep: 3,
  });
  expect(container.defaults).toMatchObject({ cores: 4, memory_mib: 100, swap_mib: 512 });
  expect(container.limits).toBe("best-effort");
});

test("reads another file when it is named, and wants it to be there", async () => {
  expect(await load({ [MAIN]: "nonsense", "/srv/my.toml": "[templates]\nkeep = 7\n" }, "/srv/my.toml")).toMatchObject({
    templates: { keep: 7 },
  });
  await expect(load({}, "/srv/my.toml")).rejects.toMatchObject({
    exitCode: 2,
    message: "Unable to read settings from /srv/my.toml: there is no such file",
  });
});

test.each([
  ["an unknown key", "[pool]\nsice = 1\n", "line 2: pool.sice: unknown key; known here: size, device"],
  ["an unknown key of the top", "colour = 1\n", "line 1: colour: unknown key; known here: pool, templates, container"],
  ["an unknown table", "\n[pools]\nsize = 1\n", "line 2: pools: unknown key"],
  ["a deep unknown table", "[contaner.defaults]\ncores = 1\n", "line 1: contaner: unknown key"],
  ["a wrong type", '[container.defaults]\ncores = "two"\n', "line 2: container.defaults.cores: "],
  ["a value in place of a table", "pool = 3\n", "line 1: pool: "],
  ["a dotted key", "container.defaults.cores = 0\n", "line 1: container.defaults.cores: "],
  [
    "too much memory",
    "[container.defaults]\n# much\nmemory_mib = 999999999\n",
    "line 3: container.defaults.memory_mib: ",
  ],
  ["half a core", "[container.defaults]\ncores = 1.5\n", "line 2: container.defaults.cores: "],
  ["a size without a unit", '[pool]\nsize = "20"\n', "line 2: pool.size: a size such as 512M"],
  ["a device outside /dev", '[pool]\ndevice = "sdb"\n', "line 2: pool.device: a device such as /dev/sdb"],
  [
    "a device that climbs out of /dev",
    '[pool]\ndevice = "/dev/../root/x"\n',
    "line 2: pool.device: a device such as /dev/sdb",
  ],
  ["a size and a device", '[pool]\nsize = "1G"\ndevice = "/dev/sdb"\n', "line 1: pool: either size or device"],
  ["a network that is none", '[container.defaults]\nnetwork = "lan"\n', "line 2: container.defaults.network: "],
  ["a bad name in a list", '[templates]\ninstall = ["ok", "../x"]\n', "line 2: templates.install.1: a template name"],
  ["a mirror that is no address", '[templates]\nmirror = "ftp://x"\n', "line 2: templates.mirror: "],
  ["a key that would alter objects", '["__proto__"]\nkeep = 1\n', "__proto__: unknown key"],
])("refuses %s, naming file and place", async (_, text, place) => {
  const path = "/etc/opdbus/conf.d/50-mine.toml";
  const loading = load({ [path]: text });
  await expect(loading).rejects.toThrow(`Unable to use ${path}:\n  ${place}`);
  await expect(loading).rejects.toMatchObject({ name: "UserError", exitCode: 2, hint: expect.stringContaining(path) });
});

test("tells all that is wrong in a file at once", async () => {
  await expect(load({ [MAIN]: "a = 1\nb = 2\n[templates]\nkeep = 0\n" })).rejects.toThrow(
    /line 4: templates\.keep.*\n {2}line 1: a: unknown key.*\n {2}line 2: b: unknown key/s,
  );
});

test("a text that is no TOML is told with line and column", async () => {
  const loading = load({ [MAIN]: "[pool]\nsize = \n" });
  await expect(loading).rejects.toThrow(/^Unable to read \/etc\/opdbus\/opdbus\.toml: line 2, column \d+: /);
  await expect(loading).rejects.toMatchObject({ exitCode: 2 });
});

test("files that are right by themselves and not together are told as the admin's mistake", async () => {
  const loading = load({
    [MAIN]: '[pool]\nsize = "1G"\n',
    "/etc/opdbus/conf.d/50-disk.toml": '[pool]\ndevice = "/dev/sdb"\n',
  });
  await expect(loading).rejects.toMatchObject({ name: "UserError", exitCode: 2 });
  await expect(loading).rejects.toThrow(/pool: either size or device, not both/);
});

test("the shipped settings say what holds when nothing is set", () => {
  const shipped = readFileSync(join(import.meta.dirname, "../../packaging/opdbus.toml"), "utf8");
  const used = shipped.replaceAll(/^#(\w+ = )/gm, "$1");
  expect(used).not.toMatch(/^#\w/m);
  // no pool is the default, and the two ways to it exclude each other; a network is asked for
  for (const [left, right] of [
    ["size", "device"],
    ["device", "size"],
  ]) {
    const text = used.replace(new RegExp(`^${right} = .*$`, "m"), "");
    const settings = settingsSchema.parse(parseToml(text, "opdbus.toml"));
    expect(settings.pool).toHaveProperty(left ?? "");
    const { network, ...defaults } = settings.container.defaults;
    expect(network).toBe("socket");
    expect({ ...settings, pool: {}, container: { ...settings.container, defaults } }).toEqual(settingsSchema.parse({}));
  }
});

test("the shipped settings name every key of the schema", () => {
  const shipped = readFileSync(join(import.meta.dirname, "../../packaging/opdbus.toml"), "utf8");
  const { pool, templates, container } = settingsSchema.shape;
  const shapes = { pool, templates, container, "container.defaults": container.unwrap().shape.defaults };
  for (const [table, schema] of Object.entries(shapes)) {
    const section = shipped.split(`[${table}]\n`)[1]?.split(/^\[/m)[0] ?? "";
    const keys = Object.keys(schema.unwrap().shape).filter((key) => key !== "defaults");
    expect(
      section
        .match(/^#\w+(?= = )/gm)
        ?.map((key) => key.slice(1))
        .toSorted(),
      table,
    ).toEqual(keys.toSorted());
  }
});

test("a size is a number of bytes", () => {
  expect([sizeBytes("256M"), sizeBytes("20G"), sizeBytes("1T")]).toEqual([268435456, 21474836480, 1099511627776]);
});
