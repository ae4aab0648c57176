import { createHash } from "node:crypto";
import { basename, join } from "node:path";
import * as z from "zod";
import { checkTable, parseToml, type TomlTable } from "../config/toml.ts";
import { PUBLIC_SSH_KEY, SHA256, TEMPLATE_NAME } from "../config/names.ts";
import { EXIT, UserError } from "../host/errors.ts";
import type { HostView } from "../host/host.ts";
import { SETTINGS } from "../paths.ts";
import { TREE } from "../tree.ts";

const word = /^[a-z0-9][a-z0-9+.-]*$/;
const absolutePath = z
  .string()
  .regex(/^(\/[\w@%+=:,.-]+)+$/, "an absolute path without blanks")
  .refine((path) => !path.split("/").some((part) => part === "." || part === ".."), "a path without . and ..");
const unit = z
  .string()
  .regex(/^[\w@.:-]+\.(service|socket|timer|target|mount|path)$/, "a unit name such as ssh.service");
const sshKey = z.string().regex(PUBLIC_SSH_KEY, "a public SSH key on one line");

/** Files that every build writes by itself; a definition has other words for them, or none. */
export const BUILT_FILES = {
  /** Says what the template is; a hook takes a closer look at whoever has it. */
  marker: "/etc/opdbus/template.json",
  locale: "/etc/default/locale",
  timezone: "/etc/timezone",
  /** Finishes the template, and removes itself. */
  finish: "/.opdbus-finish",
} as const;

const common = {
  description: z.string().regex(/^[^\n]{1,200}$/, "one line of at most 200 characters"),
  root_ssh_keys: z.array(sshKey).default([]),
  files: z
    .array(
      z.strictObject({
        path: absolutePath,
        mode: z
          .string()
          .regex(/^[0-7]{3,4}$/, 'an octal mode such as "644"')
          .default("644"),
        content: z.string(),
      }),
    )
    .default([]),
  /** Shell text, run inside the root file system when everything else is in place. */
  commands: z.array(z.string().min(1)).default([]),
};

const packagesSchema = z
  .strictObject({
    description: common.description,
    source: z.strictObject({
      type: z.literal("mmdebstrap", '"mmdebstrap" or "archive"'),
      /** Whose packages; Debian's unless given. */
      distribution: z.enum(["debian", "ubuntu"]).optional(),
      /** The first is the default. */
      suites: z.array(z.string().regex(word, "a suite such as trixie")).min(1),
      variant: z.enum(["minbase", "apt", "required", "important", "standard"]).default("minbase"),
      components: z.array(z.string().regex(word, "a component such as main")).min(1).default(["main"]),
      pockets: z.array(z.enum(["updates", "security"])).default(["updates", "security"]),
    }),
    packages: z.array(z.string().regex(word, "a package name")).default([]),
    timezone: z
      .string()
      .regex(/^[A-Za-z0-9_+-]+(\/[A-Za-z0-9_+-]+)*$/, "a time zone such as Etc/UTC")
      .default("Etc/UTC"),
    locale: z
      .string()
      .regex(/^[\w.@-]+$/, "a locale such as C.UTF-8")
      .default("C.UTF-8"),
    units: z
      .strictObject({
        enable: z.array(unit).default([]),
        disable: z.array(unit).default([]),
        mask: z.array(unit).default([]),
      })
      .prefault({}),
    root_ssh_keys: common.root_ssh_keys,
    users: z
      .array(
        z.strictObject({
          name: z.string().regex(/^[a-z_][a-z0-9_-]{0,30}$/, "a user name"),
          shell: absolutePath.default("/bin/bash"),
          groups: z.array(z.string().regex(/^[a-z_][a-z0-9_-]{0,30}$/, "a group name")).default([]),
          ssh_keys: z.array(sshKey).default([]),
        }),
      )
      .default([]),
    files: common.files,
    commands: common.commands,
  })
  .superRefine(refuseTaken);

/** What is done with Debian's tools, which an archive need not have. */
const notOfArchives = z.never("is not for an archive, which may be of any system; say it in commands").optional();
const archiveSchema = z
  .strictObject({
    ...common,
    source: z.strictObject({
      type: z.literal("archive"),
      /** A root file system as a tar archive, compressed or not. */
      url: z
        .string()
        .regex(
          /^(https?:\/\/[^\s/?#@]+\/\S*|(\/[\w@%+=:,.-]+)+)$/,
          "an http(s) address without user and password, or the absolute path of a file",
        )
        .refine((url) => url.startsWith("/") || URL.canParse(url), "an address that can be read as one"),
      /** Left out, it must be given at each build. */
      sha256: z.string().regex(SHA256, "a SHA-256: 64 of 0-9 and a-f").optional(),
      ...Object.fromEntries(
        ["distribution", "suites", "variant", "components", "pockets"].map((key) => [key, notOfArchives]),
      ),
    }),
    ...Object.fromEntries(["packages", "timezone", "locale", "units", "users"].map((key) => [key, notOfArchives])),
  })
  .superRefine(refuseTaken);

function refuseTaken(
  definition: Pick<z.output<typeof packagesSchema>, "root_ssh_keys" | "files"> & KeyUsers,
  context: z.core.$RefinementCtx,
): void {
  const taken: string[] = [...Object.values(BUILT_FILES), ...keyFiles(definition).map(({ path }) => path)];
  for (const [index, { path }] of definition.files.entries()) {
    const inTheWay = taken.find((other) => `${other}/`.startsWith(`${path}/`) || path.startsWith(`${other}/`));
    const message = `another path: the template has a file ${inTheWay} already`;
    if (inTheWay !== undefined) context.addIssue({ code: "custom", path: ["files", index, "path"], message });
    taken.push(path);
  }
}

interface KeyUsers {
  readonly users?: readonly { readonly name: string; readonly ssh_keys: readonly string[] }[] | undefined;
}

/** The files that keep the keys of root and of the users. */
export function keyFiles({ root_ssh_keys, users = [] }: { readonly root_ssh_keys: readonly string[] } & KeyUsers) {
  const files = users.map(({ name, ssh_keys }) => ({ path: `/home/${name}/.ssh/authorized_keys`, keys: ssh_keys }));
  return [{ path: "/root/.ssh/authorized_keys", keys: root_ssh_keys }, ...files].filter(({ keys }) => keys.length > 0);
}

interface Named {
  readonly name: string;
  /** Where it was read from. */
  readonly file: string;
  /** Hex SHA-256 of what it says, whatever its layout and comments. */
  readonly digest: string;
}

/** A template that is built from a distribution's packages. */
export type PackagesDefinition = z.output<typeof packagesSchema> & Named;
/** A template that is made from a root file system that somebody else packed. */
export type ArchiveDefinition = Pick<
  z.output<typeof packagesSchema>,
  "description" | "root_ssh_keys" | "files" | "commands"
> &
  Named & { readonly source: { readonly type: "archive"; readonly url: string; readonly sha256?: string | undefined } };
/** What a template is made of: data, shipped or written by the admin. */
export type Definition = PackagesDefinition | ArchiveDefinition;

/** Whether a template is made from an archive. */
export function isArchive(definition: Definition): definition is ArchiveDefinition {
  return definition.source.type === "archive";
}

const OWN = join(SETTINGS, "templates.d");
const FOLDERS = [OWN, join(TREE, "templates")];
/** The definition that comes with the program. */
const SHIPPED = join(TREE, "templates/debian-base.toml");

/** Names of all definitions; the admin's own and the shipped ones. */
export async function listDefinitions(host: HostView): Promise<string[]> {
  const names = new Set<string>();
  for (const folder of FOLDERS) {
    for (const file of (await host.list(folder)) ?? []) {
      if (file.endsWith(".toml") && TEMPLATE_NAME.test(basename(file, ".toml"))) names.add(basename(file, ".toml"));
    }
  }
  return [...names].toSorted();
}

/** Whether the admin has a definition of this name, which comes before one of the program. */
export async function hasOwnDefinition(host: HostView, name: string): Promise<boolean> {
  return (await host.stat(join(OWN, `${name}.toml`))) !== undefined;
}

function saysArchive({ source }: TomlTable): boolean {
  return typeof source === "object" && source !== null && "type" in source && source.type === "archive";
}

/**
 * Reads a definition; the admin's own comes before a shipped one of the same name.
 * @throws {UserError} when there is none, or naming file, line and what is allowed
 */
export async function readDefinition(host: HostView, name: string): Promise<Definition> {
  for (const folder of FOLDERS) {
    const file = join(folder, `${name}.toml`);
    const text = await host.readText(file);
    if (text === undefined) continue;
    const table = parseToml(text, file);
    const source = { text, file, guide: SHIPPED };
    const content = saysArchive(table)
      ? checkTable(archiveSchema, table, source)
      : checkTable(packagesSchema, table, source);
    const digest = createHash("sha256").update(JSON.stringify(content)).digest("hex");
    return { ...content, name, file, digest };
  }
  const known = await listDefinitions(host);
  throw new UserError(`Unable to find a definition of the template ${name}`, {
    hint: `known: ${known.join(", ")}; your own go to ${FOLDERS[0]}/${name}.toml`,
    exitCode: EXIT.usage,
  });
}
