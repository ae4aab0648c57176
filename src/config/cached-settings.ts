import { Interrupted, UserError } from "../host/errors.ts";
import type { Host } from "../host/host.ts";
import { RUNTIME } from "../paths.ts";
import { VERSION } from "../version.ts";
import { readSettingsFiles } from "./settings-files.ts";
import type { Settings } from "./settings.ts";
import { isTable, isText, readWritten, type Shape } from "./written-json.ts";

const CACHE = `${RUNTIME}/settings.json`;

// what is in it is as its key says: that version of the program checked these files
const SHAPE: Shape<{ key: string; settings: Settings }> = { key: isText, settings: isTable };

/**
 * The settings in force, as `loadSettings` gives them. The schema's library and
 * the TOML parser take a third of a cold `container create`, so the result is
 * kept until a file, or the program, changes.
 */
export async function cachedSettings(host: Host): Promise<Settings> {
  const files = await readSettingsFiles(host);
  const key = JSON.stringify([VERSION, files]);
  const kept = readWritten(await host.readText(CACHE), SHAPE);
  if (kept?.key === key) return kept.settings;
  const { mergeSettings } = await import("./load-settings.ts");
  const settings = mergeSettings(files);
  try {
    await host.makeDirectory(RUNTIME, { mode: 0o755 });
    await host.writeText(CACHE, JSON.stringify({ key, settings }), { mode: 0o600 });
  } catch (error) {
    // it saves time, and a full /run must not keep anybody from work
    if (!(error instanceof UserError) || error instanceof Interrupted) throw error;
  }
  return settings;
}
