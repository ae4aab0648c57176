import { basename, dirname, join } from "node:path";
import { CommandFailed, shellText } from "../host/command-failed.ts";
import { EXIT, UserError } from "../host/errors.ts";
import type { Argv, Host, HostView } from "../host/host.ts";
import { claimName, findAbandoned } from "../pool/claims.ts";
import { humanBytes } from "../report/bytes.ts";
import { sayWhileWaiting } from "../report/patience.ts";
import type { Report } from "../report/report.ts";
import { missingTool } from "./archive.ts";
import { lockTemplate, readManifest, requireSealed, requireVersion, versionFolder } from "./manifest.ts";
import { packArgv } from "./tree-archive.ts";

/** What was exported, and where to. */
export interface Exported {
  readonly name: string;
  readonly version: string;
  /** Hex SHA-256 of the content: that of the archive before compression. */
  readonly digest: string;
  /** `-` for standard output. */
  readonly file: string;
  /** Hex SHA-256 of the file; undefined for standard output. */
  readonly sha256?: string;
  /** Size of the file. */
  readonly bytes?: number;
}

// The level is named, so that it is the same everywhere. What comes out does not depend on the number of
// threads (it does with --single-thread), only on the version of zstd; what is in it depends on neither.
const COMPRESS = "zstd --quiet -3 --threads=0";

/** The name of an archive where none was given, as Proxmox VE names its templates. */
function archiveName(name: string, version: string): string {
  return `${name}_${version}_amd64.tar.zst`;
}

/**
 * Packs a sealed version of a template: tar, compressed with zstd, the same
 * bytes at each time. The file is whole and on the disk before it has its
 * name; its SHA-256 is put beside it, for `sha256sum --check`.
 * @param output a file, or `-` for standard output
 * @throws {UserError} when the version is not sealed any more, or the file cannot be written
 */
export async function exportTemplate(
  host: Host,
  { name, version, output }: { readonly name: string; readonly version?: string; readonly output?: string },
  report: Report,
): Promise<Exported> {
  const release = await lockTemplate(host, name, "export");
  try {
    const chosen = await requireVersion(host, name, version);
    const { digest, bytes: size } = await readManifest(host, name, chosen);
    const rootfs = join(versionFolder(name, chosen), "rootfs");
    await requireSealed(host, name, chosen);
    const file = output ?? join(process.cwd(), archiveName(name, chosen));
    const task = `exporting ${name} ${chosen}, ${humanBytes(size)}`;
    if (file !== "-")
      return { name, version: chosen, digest, ...(await writeArchive(host, rootfs, file, task, report)) };
    await pack(host, rootfs, file);
    return { name, version: chosen, digest, file };
  } finally {
    await release();
  }
}

async function writeArchive(host: Host, rootfs: string, file: string, task: string, report: Report) {
  await refuseOther(host, file);
  const folder = dirname(file);
  await removeUnfinished(host, folder, basename(file));
  const unfinished = join(folder, await claimName(host, "new", basename(file)));
  const tell = async (seconds: number) => {
    const written = (await host.stat(unfinished))?.size ?? 0;
    report({ kind: "progress", task, detail: `${humanBytes(written)} written, ${seconds} s` });
  };
  const stop = sayWhileWaiting((seconds) => void tell(seconds));
  try {
    await pack(host, rootfs, unfinished);
    // what the disk still writes is in memory, to be read meanwhile
    const synced = host.run(["sync", "--", unfinished]);
    const [sha256 = ""] = await Promise.all([host.digest(unfinished), synced]);
    const bytes = (await host.stat(unfinished))?.size ?? 0;
    await host.rename(unfinished, file);
    await host.writeText(`${file}.sha256`, `${sha256}  ${basename(file)}\n`);
    return { file, sha256, bytes };
  } catch (error) {
    await host.remove(unfinished);
    throw error;
  } finally {
    stop();
  }
}

/** @throws {UserError} when there is something that is no plain file: a device, a folder, a link */
async function refuseOther(host: HostView, file: string): Promise<void> {
  const type = (await host.stat(file))?.type;
  if (type === undefined || type === "file") return;
  const [what, hint] =
    type === "directory"
      ? ["a folder", `--output ${shellText([join(file, "NAME.tar.zst")])}`]
      : [type === "link" ? "a link" : "no plain file", "--output -   # writes to standard output"];
  throw new UserError(`Unable to write ${file}: it is ${what}`, { hint, exitCode: EXIT.usage });
}

/** What killed exports to the same file left. */
async function removeUnfinished(host: Host, folder: string, file: string): Promise<void> {
  for (const name of await findAbandoned(host, folder)) {
    const path = join(folder, name);
    if (name.endsWith(`-${file}`) && (await host.stat(path))?.type === "file") await host.remove(path);
  }
}

/** @param file a new one, or `-` for standard output */
async function pack(host: Host, rootfs: string, file: string): Promise<void> {
  try {
    // tar starts it: what goes from one to the other does not pass through us
    const argv: Argv = [...packArgv(rootfs), `--use-compress-program=${COMPRESS}`];
    await host.run(argv, { output: file });
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error;
    const said = error.result.stderr.split("\n");
    if (said.some((line) => /zstd: (Cannot exec|not found)/.test(line))) throw missingTool("zstd", error);
    // the first is the reason, and the last only that it was one
    const message = `Unable to write ${file === "-" ? "to standard output" : file}: ${said[0]}`;
    const folder = file === "-" ? "." : dirname(file);
    throw new UserError(message, { hint: `${shellText(["df", "-h", folder])}   # is there room?`, cause: error });
  }
}
