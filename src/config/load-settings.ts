import { join } from "node:path";
import { parse, TomlError } from "smol-toml";
import type * as z from "zod";
import { UserError } from "../host/errors.ts";
import type { HostView } from "../host/host.ts";
import { SETTINGS } from "../pool/layout.ts";
import { type Settings, settingsSchema } from "./settings.ts";

type Table = Record<string, unknown>;

const MAIN_FILE = join(SETTINGS, "opdbus.toml");
const DROP_INS = join(SETTINGS, "conf.d");

/**
 * The settings in force: defaults, then opdbus.toml, then conf.d/*.toml in the
 * order of their names; a later value wins, tables are merged key by key.
 * @param file read in place of /etc/opdbus/opdbus.toml; must exist then
 * @throws {UserError} naming file, line or path, and what is allowed
 */
export async function loadSettings(host: HostView, file?: string): Promise<Settings> {
  const main = await host.readText(file ?? MAIN_FILE);
  if (main === undefined && file !== undefined) {
    throw new UserError(`Unable to read settings from ${file}: there is no such file`, { exitCode: 2 });
  }
  const names = ((await host.list(DROP_INS)) ?? []).filter((name) => /^[^.].*\.toml$/.test(name));
  let merged: Table = readTable(main ?? "", file ?? MAIN_FILE);
  for (const name of names) {
    const path = join(DROP_INS, name);
    merged = mergeTables(merged, readTable((await host.readText(path)) ?? "", path));
  }
  // files that are right by themselves can contradict each other
  return checkTable(settingsSchema, merged, "", `${file ?? MAIN_FILE} and ${DROP_INS}/*.toml together`);
}

// each file is checked by itself, so that the message names the right one
function readTable(text: string, file: string): Table {
  const table = parseToml(text, file);
  checkTable(settingsSchema, table, text, file);
  return table;
}

/** @throws {UserError} with file, line and column when the text is no TOML */
export function parseToml(text: string, file: string): Table {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const reason = error.message.split("\n")[0]?.replace("Invalid TOML document: ", "");
    throw new UserError(`Unable to read ${file}: line ${error.line}, column ${error.column}: ${reason}`, {
      hint: `correct the line in ${file}`,
      exitCode: 2,
      cause: error,
    });
  }
}

/**
 * Checks a table against a schema.
 * @returns the table with its defaults filled in
 * @throws {UserError} with one line for each thing that is wrong
 */
export function checkTable<S extends z.ZodType>(schema: S, table: Table, text: string, file: string): z.output<S> {
  const checked = schema.safeParse(table);
  if (checked.success) return checked.data;
  const found = checked.error.issues.flatMap((issue) =>
    issue.code === "unrecognized_keys"
      ? issue.keys.map((key) => problem([...issue.path, key], "unknown key", text))
      : [problem(issue.path, issue.message, text)],
  );
  throw new UserError(`Unable to use ${file}:\n${found.map((line) => `  ${line}`).join("\n")}`, {
    hint: `correct ${file}; every key is explained in ${MAIN_FILE}.sample`,
    exitCode: 2,
  });
}

function problem(path: readonly PropertyKey[], what: string, text: string): string {
  const line = lineOf(path.map(String), text);
  return `${line === undefined ? "" : `line ${line}: `}${path.map(String).join(".") || "the file"}: ${what}`;
}

/** The line on which a key stands, or else its table; 1 is the first. */
function lineOf(path: readonly string[], text: string): number | undefined {
  const places = placesOf(text);
  for (let depth = path.length; depth > 0; depth--) {
    const line = places.get(path.slice(0, depth).join("."));
    if (line !== undefined) return line;
  }
  return undefined;
}

/** Where keys and tables stand plainly: `files.1.path` is the key `path` of the second `[[files]]`. */
function placesOf(text: string): Map<string, number> {
  const places = new Map<string, number>();
  const counts = new Map<string, number>();
  let table = "";
  let quotes: string | undefined;
  for (const [index, line] of text.split("\n").entries()) {
    if (quotes !== undefined) {
      if (line.includes(quotes)) quotes = undefined;
      continue;
    }
    const [, brackets, header] = /^\s*(\[+)\s*([\w.-]+)\s*\]/.exec(line) ?? [];
    const [, key, value = ""] = /^\s*([\w.-]+)\s*=\s*(.*)$/.exec(line) ?? [];
    if (header !== undefined) {
      const count = (counts.get(header) ?? -1) + 1;
      counts.set(header, count);
      table = brackets === "[[" ? `${header}.${count}` : header;
    }
    if (header === undefined && key === undefined) continue;
    const here = [table, key].filter(Boolean).join(".");
    const parents = here.split(".").map((_, depth, parts) => parts.slice(0, depth + 1).join("."));
    for (const each of parents) if (!places.has(each)) places.set(each, index + 1);
    const opened = /^("""|''')/.exec(value)?.[0];
    if (opened !== undefined && !value.slice(3).includes(opened)) quotes = opened;
  }
  return places;
}

function mergeTables(under: Table, over: Table): Table {
  const merged = { ...under };
  for (const [key, value] of Object.entries(over)) {
    const before = merged[key];
    merged[key] = isTable(before) && isTable(value) ? mergeTables(before, value) : value;
  }
  return merged;
}

function isTable(value: unknown): value is Table {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
