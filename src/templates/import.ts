import { basename, join } from "node:path";
import { isText, readWritten, type Shape } from "../config/written-json.ts";
import { isTemplateVersion, TEMPLATE_NAME } from "../config/names.ts";
import type { Host } from "../host/host.ts";
import { TEMPLATES } from "../paths.ts";
import { requirePool } from "../pool/find-pool.ts";
import { createSubvolume } from "../pool/subvolumes.ts";
import { humanBytes } from "../report/bytes.ts";
import type { Report } from "../report/report.ts";
import { addVersion, timeStamp } from "./add-version.ts";
import { obtainAndTell, requireDigest, screenFile } from "./archive.ts";
import { BUILT_FILES } from "./definition.ts";
import { RESERVE } from "./fill-from-archive.ts";
import { lockTemplate, type Manifest } from "./manifest.ts";
import { inScratch } from "./scratch.ts";
import { unpackArgv } from "./tree-archive.ts";

/** An archive that is to become a version of a template. */
export interface Import {
  readonly name: string;
  /** A file, or `-` for standard input. */
  readonly source: string;
  /** What the archive's SHA-256 must be; anything unless given. */
  readonly sha256?: string;
}

const MARKER: Shape<{ name: string; version: string }> = { name: isText, version: isText };

/**
 * Makes an archive a new version of a template, and the current one. A copy
 * of it that nobody else can touch is looked through first, and unpacked
 * where it can reach nothing but its own tree.
 * @returns the version, which is an older one when the content is the same, and the archive's hex SHA-256
 * @throws {UserError} with exit code 5 when it is not the one that was wanted, or holds what must not be unpacked
 */
export async function importTemplate(
  host: Host,
  wanted: Import,
  report: Report,
): Promise<{ manifest: Manifest; sha256: string }> {
  const { name, source } = wanted;
  await requirePool(host);
  const release = await lockTemplate(host, name, "import");
  try {
    return await inScratch(host, name, async (folder) => {
      // what was looked through is what is unpacked: nobody else may change it meanwhile
      const path = join(folder, "archive");
      const limit = (await host.space(folder)).free - RESERVE;
      const { sha256 } = await obtainAndTell(host, { source, path, limit, task: `reading ${source}` }, report);
      const file = source === "-" ? "standard input" : source;
      requireDigest(file, sha256, wanted.sha256);
      return { manifest: await unpackVersion(host, { name, file, sha256, path }, report), sha256 };
    });
  } finally {
    await release();
  }
}

async function unpackVersion(
  host: Host,
  { name, file, sha256, path }: { name: string; file: string; sha256: string; path: string },
  report: Report,
): Promise<Manifest> {
  const task = `importing ${name}`;
  report({ kind: "progress", task, detail: "looking through the archive" });
  const marker = BUILT_FILES.marker.slice(1);
  const limit = (await host.space(TEMPLATES)).free - RESERVE;
  const { decompress, contents, members, bytes } = await screenFile(host, path, {
    source: file,
    limit,
    wanted: [marker],
  });
  const claims = readClaims(contents.get(marker));
  const fill = async (rootfs: string) => {
    report({ kind: "progress", task, detail: `unpacking ${members} files, ${humanBytes(bytes)}` });
    await createSubvolume(host, rootfs);
    await host.pipe([...decompress, "--", path], unpackArgv(rootfs));
    return { origin: { type: "import", file: basename(file), sha256, ...(claims && { claims }) } } as const;
  };
  // a version keeps its name wherever it goes: what it is, its digest tells
  const stamp = claims?.version ?? timeStamp(Math.floor(Date.now() / 1000));
  return addVersion(host, { name, stamp, task, fill }, report);
}

/** What a tree says of itself. It is a claim, and no more: it must at least look like one of ours. */
function readClaims(text: string | undefined): { name: string; version: string } | undefined {
  const found = readWritten(text, MARKER);
  if (found === undefined || !TEMPLATE_NAME.test(found.name) || !isTemplateVersion(found.version)) return undefined;
  return { name: found.name, version: found.version };
}
