import { spawnSync } from "node:child_process";
import { join, resolve } from "node:path";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { mergeSettings } from "../../src/config/load-settings.ts";
import {
  checkContainerName,
  checkSnapshotName,
  checkTemplateName,
  checkTemplateVersion,
} from "../../src/config/names.ts";
import { settingsSchema } from "../../src/config/settings.ts";
import { copyContainer } from "../../src/containers/copy.ts";
import { createContainer, prepareCreate } from "../../src/containers/create.ts";
import { shellText } from "../../src/host/command-failed.ts";
import { UserError } from "../../src/host/errors.ts";
import { CONTAINERS } from "../../src/paths.ts";
import { templateFiles } from "../../src/templates/contents.ts";
import { isArchive, readDefinition } from "../../src/templates/definition.ts";
import { exportTemplate } from "../../src/templates/export.ts";
import { importTemplate } from "../../src/templates/import.ts";
import { hostWith } from "../containers/host-with.ts";
import { installedHost } from "../installed-host.ts";
import { hostileWord, MANY } from "./words.ts";

const silent = () => {};
const CODES = [1, 2, 3, 5];

/** What came of it; anything but a result or a `UserError` is a bug. */
async function attempt<T>(work: () => T | Promise<T>): Promise<{ result: T } | { refused: UserError }> {
  try {
    return { result: await work() };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    expect(CODES).toContain(error.exitCode);
    return { refused: error };
  }
}

test.each([
  ["a container", checkContainerName],
  ["a template", checkTemplateName],
  ["a snapshot", checkSnapshotName],
  ["a version", checkTemplateVersion],
] as const)("what may name %s is one plain part of a path, whatever is tried", async (_, check) => {
  await fc.assert(
    fc.asyncProperty(hostileWord(), async (word) => {
      const outcome = await attempt(() => check(word));
      if ("refused" in outcome) {
        expect(outcome.refused.exitCode).toBe(2);
        return;
      }
      expect(outcome.result).toBe(word);
      expect(word).toMatch(/^[A-Za-z0-9][A-Za-z0-9._-]*$/);
      expect(resolve("/a/b", word)).toBe(`/a/b/${word}`);
      expect(word.length).toBeLessThan(64);
    }),
    { numRuns: MANY },
  );
});

/** Settings, and how a right value of each begins: what is nearly right gets further than what is all wrong. */
const PLACES = {
  "pool.size": "20G",
  "pool.device": "/dev/",
  "templates.install": "web",
  "templates.mirror": "http://host/",
  "templates.ubuntu_mirror": "https://host",
  "templates.keep": "",
  "container.limits": "enforce",
  "container.defaults.template": "web",
  "container.defaults.network": "none",
  "container.defaults.cores": "",
  "container.defaults.nothing": "",
  "nothing.at.all": "",
};

test("settings are what their schema says, or are refused with the file's name, whatever stands in them", async () => {
  const file = "/etc/opdbus/opdbus.toml";
  const value = (word: string) =>
    fc.constantFrom(
      JSON.stringify(word),
      word,
      `[${JSON.stringify(word)}]`,
      `{ x = ${JSON.stringify(word)} }`,
      JSON.stringify(word.replaceAll(/[^\w./-]/g, "")),
    );
  const line = fc.oneof(
    fc
      .tuple(fc.constantFrom(...Object.entries(PLACES)), hostileWord())
      .chain(([[place, right], word]) => value(right + word).map((text) => `${place} = ${text}`)),
    hostileWord().chain((word) => value(word).map((text) => `${JSON.stringify(word)} = ${text}`)),
    hostileWord().map((word) => `[${word}]`),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(line, { minLength: 1, maxLength: 2 }), async (lines) => {
      const outcome = await attempt(() => mergeSettings([{ path: file, text: `${lines.join("\n")}\n` }]));
      if ("refused" in outcome) {
        expect(outcome.refused.exitCode).toBe(2);
        expect(outcome.refused.message).toContain(file);
        return;
      }
      expect(settingsSchema.parse(outcome.result)).toEqual(outcome.result);
      const { pool, templates } = outcome.result;
      if (pool.device !== undefined) expect(resolve(pool.device)).toBe(pool.device);
      for (const name of templates.install) expect(checkTemplateName(name)).toBe(name);
      for (const mirror of [templates.mirror, templates.ubuntu_mirror])
        expect(mirror).toMatch(/^(auto|https?:\/\/[^\s@]+)$/);
      expect(({} as Record<string, unknown>)["x"]).toBeUndefined();
    }),
    { numRuns: MANY },
  );
});

const OWN = "/etc/opdbus/templates.d/own.toml";
const DEFINITION = {
  description: "x",
  source: { type: "mmdebstrap", suites: ["trixie"], components: ["main"] },
  packages: ["ca-certificates"],
  timezone: "Etc/UTC",
  locale: "C.UTF-8",
  units: { enable: ["ssh.service"], mask: ["x.timer"] },
  root_ssh_keys: ["ssh-ed25519 AAAA"],
  users: [{ name: "app", shell: "/bin/sh", groups: ["sudo"], ssh_keys: ["ssh-ed25519 AAAA"] }],
  files: [{ path: "/etc/motd", mode: "644", content: "x" }],
};

/** Every text in the definition by its place, such as `users.0.name`. */
function places(value: unknown, path: readonly string[] = []): string[][] {
  if (typeof value === "string") return [[...path]];
  return Object.entries(value as object).flatMap(([key, inner]) => places(inner, [...path, key]));
}

/** A definition with a word in the place of a text, before it, behind it, or as it is. */
function withWord(path: readonly string[], word: string, where: number): string {
  const changed = structuredClone(DEFINITION) as unknown as Record<string, unknown>;
  let at = changed;
  for (const key of path.slice(0, -1)) at = at[key] as Record<string, unknown>;
  const key = path.at(-1) ?? "";
  const text = String(at[key]);
  at[key] = [word, word + text, text + word, text + word.replaceAll(/[^a-z]/g, "")][where];
  return toToml(changed);
}

/** As inline tables, which take any value. */
function toToml(table: object): string {
  const text = (value: unknown): string => {
    if (Array.isArray(value)) return `[${value.map(text).join(", ")}]`;
    if (typeof value === "string") return tomlString(value);
    return `{ ${Object.entries(value as object)
      .map(([key, inner]) => `${key} = ${text(inner)}`)
      .join(", ")} }`;
  };
  return Object.entries(table)
    .map(([key, value]) => `${key} = ${text(value)}\n`)
    .join("");
}

function tomlString(value: string): string {
  const escaped = value.replaceAll(
    /[\p{Cc}"\\]/gu,
    (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return `"${escaped}"`;
}

test("a definition puts files only into its tree, and no word of it becomes a command or an option", async () => {
  const anywhere = fc.constantFrom(...places(DEFINITION));
  await fc.assert(
    fc.asyncProperty(anywhere, hostileWord(), fc.nat(3), async (path, word, where) => {
      const host = installedHost({ files: { [OWN]: withWord(path, word, where) } });
      const outcome = await attempt(() => readDefinition(host, "own"));
      if ("refused" in outcome) {
        expect(outcome.refused.message).toContain(OWN);
        return;
      }
      const definition = outcome.result;
      if (isArchive(definition)) throw new Error("it is one of packages");
      for (const file of templateFiles(definition, "trixie", "1")) {
        expect(join("/tree", file.path)).toBe(resolve(`/tree${file.path}`));
        expect(file.path).toMatch(/^(\/[\w@%+=:,.-]+)+$/);
        if (!file.path.endsWith("finish")) continue;
        // each line is one of ours, with plain words in it
        for (const line of file.content.split("\n")) expect(line).toMatch(/^[\w #!/.,:;=@%+*\-"'(){}[\]<>&|$~]*$/);
        expect(file.content).not.toMatch(/\$\(|`|;\s*id\b/);
      }
      const words = [...definition.packages, ...definition.source.suites, ...definition.source.components];
      for (const one of words) expect(one).toMatch(/^[a-z0-9][a-z0-9+.-]*$/);
    }),
    { numRuns: MANY },
  );
});

test("a file that is named for an export, an import or a copy is met where it is, and nowhere else", async () => {
  await fc.assert(
    fc.asyncProperty(hostileWord(), async (word) => {
      fc.pre(!word.includes("\0"));
      const path = resolve("/srv/here", word);
      const host = await hostWith("web-01");
      host.tree.put("/srv/here", {});
      const before = new Set(host.tree.below("/"));
      await attempt(() => exportTemplate(host, { name: "debian-base", output: path }, silent));
      await attempt(() => copyContainer(host, { name: "web-01", pool: path, as: "web-02" }, silent));
      await attempt(() => importTemplate(host, { name: "web", source: path }, silent));
      const made = host.tree.below("/").filter((each) => !before.has(each));
      const meant = [path, `${path}.sha256`, "/run/opdbus", "/var/lib/opdbus-pve", "/var/lib/op-dbus/@templates"];
      const isMeant = (each: string) =>
        meant.some((one) => `${each}/`.startsWith(`${one}/`) || path.startsWith(`${each}/`));
      expect(made.filter((each) => !isMeant(each))).toEqual([]);
    }),
    { numRuns: 300 },
  );
});

test("a container that may be made lies in its folder, and its configuration has lines of ours only", async () => {
  const key = hostileWord().map((word) => `ssh-ed25519 AAAA ${word}`);
  await fc.assert(
    fc.asyncProperty(hostileWord(), key, async (word, sshKey) => {
      const host = installedHost();
      const outcome = await attempt(async () => {
        const request = {
          template: "debian-base",
          network: "none",
          cores: 1,
          memoryMiB: 64,
          swapMiB: 0,
          limits: "enforce",
        } as const;
        const prepared = await prepareCreate(host, { ...request, sshKeys: [sshKey] });
        return createContainer(host, checkContainerName(word.slice(0, 80)), prepared);
      });
      if ("refused" in outcome) {
        expect(await host.list(CONTAINERS)).toEqual([]);
        return;
      }
      const config = (await host.readText(`${CONTAINERS}/${outcome.result.name}/config`)) ?? "";
      for (const line of config.split("\n")) expect(line).toMatch(/^(#.*|lxc\.[a-z0-9._]+ = .*|)$/);
      expect(await host.list(CONTAINERS)).toEqual([outcome.result.name]);
    }),
    { numRuns: 300 },
  );
});

test("what is shown to be typed is, to a shell, the very words that were meant", () => {
  const words = fc.sample(hostileWord(), MANY).filter((word) => !word.includes("\0") && word.isWellFormed());
  const script = `printf '%s\\0' ${shellText(words)}`;
  const { stdout, status } = spawnSync("sh", { input: script, encoding: "utf8", maxBuffer: 2 ** 26 });
  expect(status).toBe(0);
  expect(stdout.split("\0").slice(0, -1)).toEqual(words);
});
