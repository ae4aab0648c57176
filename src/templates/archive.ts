import { EXIT, UserError } from "../host/errors.ts";
import { CommandFailed } from "../host/command-failed.ts";
import type { Argv, Host } from "../host/host.ts";
import { humanBytes } from "../report/bytes.ts";
import { sayWhileWaiting } from "../report/patience.ts";
import type { Report } from "../report/report.ts";
import { type Screened, screenArchive, type Screening } from "./screen.ts";

/** Archives that we can unpack, told by their first bytes, whatever the file is called. */
const COMPRESSIONS: readonly (readonly [magic: string, command: Argv])[] = [
  ["1f8b", ["gzip", "--decompress", "--stdout"]],
  ["fd377a585a00", ["xz", "--decompress", "--stdout"]],
  ["28b52ffd", ["zstd", "--quiet", "--decompress", "--stdout"]],
];

/** The command that makes a plain tar stream of an archive. */
async function decompressor(host: Host, path: string): Promise<Argv> {
  let start = "";
  await host.stream(["head", "--bytes=6", "--", path], (bytes) => (start += Buffer.from(bytes).toString("hex")));
  const [, command] = COMPRESSIONS.find(([magic]) => start.startsWith(magic)) ?? [];
  return command ?? ["cat"];
}

/**
 * Looks through all of an archive; nothing is unpacked. The file must be ours
 * alone: what is unpacked later must be what was looked at.
 * @returns what it holds, and the command that makes a plain tar stream of it
 * @throws {UserError} with exit code 5, naming what must not be unpacked, and why
 */
export async function screenFile(
  host: Host,
  path: string,
  screening: Screening,
): Promise<Screened & { readonly decompress: Argv }> {
  const decompress = await decompressor(host, path);
  const screener = screenArchive(screening);
  try {
    await host.stream([...decompress, "--", path], screener.take);
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error;
    if (error.result.exitCode === 127) throw missingTool(decompress[0], error);
    throw new UserError(`Unable to unpack ${screening.source}: ${error.message}`, {
      hint: "the file is damaged, or was cut short: get it again",
      exitCode: EXIT.unverified,
      cause: error,
    });
  }
  return { ...screener.end(), decompress };
}

/**
 * Brings a file here, and says how far it is when it takes long.
 * @see Host.obtain
 */
export async function obtainAndTell(
  host: Host,
  {
    source,
    path,
    limit,
    task,
  }: { readonly source: string; readonly path: string; readonly limit: number; readonly task: string },
  report: Report,
): Promise<{ sha256: string; bytes: number }> {
  let got = 0;
  let all: number | undefined;
  const stop = sayWhileWaiting((seconds) => {
    const detail = `${humanBytes(got)}${all === undefined ? "" : ` of ${humanBytes(all)}`}, ${seconds} s`;
    report({ kind: "progress", task, ...(all ? { fraction: got / all } : {}), detail });
  }, 1);
  try {
    const onBytes = (bytes: number, total: number | undefined) => {
      got = bytes;
      all = total;
    };
    return await host.obtain(source, path, { limit, onBytes });
  } finally {
    stop();
  }
}

/** @throws {UserError} with exit code 5 when a file is not the one that was wanted */
export function requireDigest(source: string, found: string, wanted: string | undefined): void {
  if (wanted === undefined || found === wanted.toLowerCase()) return;
  throw new UserError(`${source} is not what was wanted: its SHA-256 is ${found}, and not ${wanted}`, {
    hint: "compare both with what its maker says; nothing of it was unpacked",
    exitCode: EXIT.unverified,
  });
}

/** What to throw for a tool that is not on every Debian, and is missing. */
export function missingTool(tool: string, cause: unknown): UserError {
  return new UserError(`${tool} is missing on this host`, {
    hint: `apt-get install --no-install-recommends ${tool === "xz" ? "xz-utils" : tool}`,
    exitCode: EXIT.unsupported,
    cause,
  });
}
