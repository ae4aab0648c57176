const MAINTAINER = "opdbus-pve developers <maintainers@opdbus-pve.dev>";

/**
 * CHANGELOG.md in the format of Debian's changelogs (deb-changelog(5)).
 * @param markdown versions as `## 1.2.3, 2026-12-31` or `## 1.2.3, unreleased`, newest first
 * @param now the time of what is not released, in seconds since 1970
 */
export function debianChangelog(markdown: string, now: number): string {
  const [, ...sections] = markdown.split(/^## /m);
  return sections
    .map((section) => {
      const [heading = "", ...lines] = section.split("\n");
      const [, version, when] = /^(\d\S*), (unreleased|\d{4}-\d\d-\d\d)$/.exec(heading) ?? [];
      if (version === undefined || when === undefined) throw new Error(`CHANGELOG.md: no version and date: ${heading}`);
      const date = new Date(when === "unreleased" ? now * 1000 : when).toUTCString().replace("GMT", "+0000");
      const items = lines
        .join("\n")
        .trim()
        .split(/\n(?=- )|\n\n/);
      const entries = items.map((item) => wrap(item.replace(/^- /, "")));
      return `opdbus-pve (${version}) stable; urgency=medium\n\n${entries.join("")}\n -- ${MAINTAINER}  ${date}\n`;
    })
    .join("\n");
}

/** An entry with its lines no longer than Debian likes them. */
function wrap(text: string): string {
  const lines = [""];
  for (const word of text.split(/\s+/)) {
    const last = lines.at(-1) ?? "";
    if (last.length + word.length < 74) lines[lines.length - 1] = last === "" ? word : `${last} ${word}`;
    else lines.push(word);
  }
  return `  * ${lines.join("\n    ")}\n`;
}
