import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/**
 * The package's copyright file: ours, and the whole licence of every part of
 * others that is inside.
 * @param parts folders of npm packages
 * @throws {Error} when a part names no licence, or brings no text of it
 */
export function copyrightOf(parts: readonly string[]): string {
  return [
    `opdbus-pve is free software under the GNU General Public License, version 3
or any later version, see /usr/share/common-licenses/GPL-3.

Copyright: the opdbus-pve developers

Inside are parts of others, each under the licence that follows its name.
`,
    ...parts.map(licenceOf),
  ].join(`\n${"=".repeat(78)}\n\n`);
}

function licenceOf(folder: string): string {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as {
    name: string;
    version: string;
    license?: string;
  };
  const file = readdirSync(folder).find((each) => /^(licen[cs]e|copying)(\.\w+)?$/i.test(each));
  if (license === undefined || file === undefined) throw new Error(`${name} ${version} brings no licence`);
  return `${name} ${version} (${license})\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
}
