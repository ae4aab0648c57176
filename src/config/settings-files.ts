import { join } from "node:path";
import { EXIT, UserError } from "../host/errors.ts";
import type { HostView } from "../host/host.ts";
import { SETTINGS } from "../paths.ts";

/** A file of settings, as it was read. */
export interface SettingsFile {
  readonly path: string;
  readonly text: string;
}

const MAIN_FILE = join(SETTINGS, "opdbus.toml");
const DROP_INS = join(SETTINGS, "conf.d");

/**
 * The files that settings are read from, in the order in which they win:
 * opdbus.toml, then conf.d/*.toml by name.
 * @param main read in place of /etc/opdbus/opdbus.toml; must exist then
 * @throws {UserError} when `main` was given and is not there
 */
export async function readSettingsFiles(host: HostView, main?: string): Promise<SettingsFile[]> {
  const mainText = await host.readText(main ?? MAIN_FILE);
  if (mainText === undefined && main !== undefined) {
    throw new UserError(`Unable to read settings from ${main}: there is no such file`, { exitCode: EXIT.usage });
  }
  const files = mainText === undefined ? [] : [{ path: main ?? MAIN_FILE, text: mainText }];
  for (const name of (await host.list(DROP_INS)) ?? []) {
    const path = join(DROP_INS, name);
    if (/^[^.].*\.toml$/.test(name)) files.push({ path, text: (await host.readText(path)) ?? "" });
  }
  return files;
}
