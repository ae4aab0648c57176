import { join } from "node:path";
import type { HostView } from "../host/host.ts";
import { TREE } from "../tree.ts";
import { readSettingsFiles, type SettingsFile } from "./settings-files.ts";
import { type Settings, settingsSchema } from "./settings.ts";
import { checkTable, parseToml, type TomlTable } from "./toml.ts";

// beside the program it is always as it was shipped
const SAMPLE = join(TREE, "opdbus.toml");

/**
 * The settings in force: defaults, then opdbus.toml, then conf.d/*.toml in the
 * order of their names; a later value wins, tables are merged key by key.
 * @param file read in place of /etc/opdbus/opdbus.toml; must exist then
 * @throws {UserError} naming file, line or path, and what is allowed
 */
export async function loadSettings(host: HostView, file?: string): Promise<Settings> {
  return mergeSettings(await readSettingsFiles(host, file));
}

/** @see loadSettings */
export function mergeSettings(files: readonly SettingsFile[]): Settings {
  let merged: TomlTable = {};
  for (const { path, text } of files) {
    const table = parseToml(text, path);
    // each file is checked by itself, so that the message names the right one
    checkTable(settingsSchema, table, { text, file: path, guide: SAMPLE });
    merged = mergeTables(merged, table);
  }
  // files that are right by themselves can contradict each other
  const file = `${files.map(({ path }) => path).join(" and ")} together`;
  return checkTable(settingsSchema, merged, { text: "", file, guide: SAMPLE });
}

function mergeTables(under: TomlTable, over: TomlTable): TomlTable {
  const merged = { ...under };
  for (const [key, value] of Object.entries(over)) {
    const before = merged[key];
    merged[key] = isTable(before) && isTable(value) ? mergeTables(before, value) : value;
  }
  return merged;
}

function isTable(value: unknown): value is TomlTable {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
