import * as fs from "node:fs";
import { dirname } from "node:path";
import { shellText } from "./command-failed.ts";
import { errnoOf, Interrupted, messageOf, UserError } from "./errors.ts";
import type { ObtainOptions } from "./host.ts";
import { explained, localFiles } from "./local-files.ts";
import { publicAddress } from "./public-address.ts";

const ATTEMPTS = 4;
const PAUSE_MS = 500;
/** A server that says nothing for so long is gone. */
const SILENCE_MS = 60_000;
const MOST_REDIRECTS = 5;

/**
 * Brings a file here.
 * @see Host.obtain
 */
export async function obtainFile(
  signal: AbortSignal,
  source: string,
  path: string,
  options: ObtainOptions,
): Promise<{ sha256: string; bytes: number }> {
  try {
    if (/^https?:/.test(source)) await download(signal, source, path, options);
    else await explained("write", path, () => copy(signal, source, path, options));
  } catch (error) {
    throw signal.aborted ? new Interrupted() : error;
  }
  return { sha256: (await localFiles.digest(path)) ?? "", bytes: fs.statSync(path).size };
}

async function copy(signal: AbortSignal, source: string, path: string, options: ObtainOptions): Promise<void> {
  if (source !== "-") {
    const total = await sizeOf(source);
    return write(readPieces(signal, source), path, { ...options, at: 0, total, source });
  }
  // whoever writes to us may never end
  signal.addEventListener("abort", leaveStdin);
  try {
    await write(process.stdin, path, { ...options, at: 0, total: undefined, source });
  } finally {
    signal.removeEventListener("abort", leaveStdin);
  }
}

function leaveStdin(): void {
  process.stdin.destroy(new Interrupted());
}

async function* readPieces(signal: AbortSignal, source: string): AsyncGenerator<Uint8Array> {
  const file = await fs.promises.open(source);
  try {
    const piece = Buffer.allocUnsafe(1 << 20);
    for (let read; (read = (await file.read(piece)).bytesRead) > 0;) {
      signal.throwIfAborted();
      yield piece.subarray(0, read);
    }
  } finally {
    await file.close();
  }
}

async function sizeOf(source: string): Promise<number> {
  const found = await explained("read", source, () => fs.statSync(source));
  if (found.isFile()) return found.size;
  throw new UserError(`Unable to read ${source}: it is no file`, {
    hint: "give the path of an archive, or - and its bytes",
  });
}

/** Again and again where it was cut, as long as the fault may be the way's and not the file's. */
async function download(signal: AbortSignal, source: string, path: string, options: ObtainOptions): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await explained("write", path, () => request(signal, source, path, options));
    } catch (error) {
      if (signal.aborted) throw new Interrupted();
      if (error instanceof UserError) throw error;
      // fetch says "fetch failed", and its cause why
      const why = messageOf(error instanceof Error && error.cause instanceof Error ? error.cause : error);
      if (attempt === ATTEMPTS) {
        const shown = publicAddress(source);
        const look =
          shown === source
            ? `curl --head --location ${shellText([source])}   # is it there, and`
            : "is it there, and is";
        throw new UserError(`Unable to download ${shown}: ${why || errnoOf(error)}`, {
          hint: `${look} the way to it open? What came so far is kept`,
          cause: error,
        });
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS * attempt));
    }
  }
}

async function request(signal: AbortSignal, source: string, path: string, options: ObtainOptions): Promise<void> {
  const silence = new AbortController();
  const timer = setTimeout(() => silence.abort(new Error(`no answer within ${SILENCE_MS / 1000} s`)), SILENCE_MS);
  try {
    const have = fs.existsSync(path) ? fs.statSync(path).size : 0;
    const answer = await follow(new URL(source), have, AbortSignal.any([signal, silence.signal]));
    if (answer.status === 416 && answer.headers.get("content-range") === `bytes */${have}`) return;
    const [, start, size] = /^bytes (\d+)-\d+\/(\d+)$/.exec(answer.headers.get("content-range") ?? "") ?? [];
    const goesOn = answer.status === 206 && Number(start) === have;
    if (answer.status === 206 || answer.status === 416) {
      // what is here is not the beginning of what is there
      if (!goesOn) fs.rmSync(path, { force: true });
      if (!goesOn) throw new Error(`the server has no bytes after ${have}`);
    } else if (answer.status >= 500 || answer.status === 429) {
      throw new Error(`the server says ${answer.status} ${answer.statusText}`);
    } else if (answer.status !== 200) {
      throw new UserError(
        `Unable to download ${publicAddress(source)}: the server says ${answer.status} ${answer.statusText}`,
        {
          hint: "check the address in the definition",
        },
      );
    }
    if (answer.headers.has("content-encoding")) {
      throw new UserError(`Unable to download ${publicAddress(source)}: the server sends it encoded, and not as it is`);
    }
    const length = answer.headers.get("content-length");
    const total = goesOn ? Number(size) : length === null ? undefined : Number(length);
    const onBytes = (bytes: number, all: number | undefined) => {
      timer.refresh();
      options.onBytes?.(bytes, all);
    };
    await write(answer.body ?? [], path, { ...options, at: goesOn ? have : 0, total, source, onBytes });
  } finally {
    clearTimeout(timer);
    // lets go of an answer that nobody wants to read
    silence.abort();
  }
}

/** Follows redirections, but never from https to http. */
async function follow(url: URL, have: number, signal: AbortSignal): Promise<Response> {
  let at = url;
  for (let count = 0; count <= MOST_REDIRECTS; count++) {
    const { bare, authorization } = withoutUser(at);
    const range = have > 0 ? { range: `bytes=${have}-` } : {};
    const headers = { "accept-encoding": "identity", ...range, ...authorization };
    // oxlint-disable-next-line no-restricted-globals -- this is where downloads are made
    const answer = await fetch(bare, { headers, signal, redirect: "manual" });
    const location = answer.headers.get("location");
    if (![301, 302, 303, 307, 308].includes(answer.status) || location === null) return answer;
    await answer.body?.cancel();
    const next = new URL(location, at);
    if (next.protocol !== "https:" && next.protocol !== at.protocol) {
      const leads = `it leads to ${publicAddress(next.href)}, which is not safe`;
      throw new UserError(`Unable to download ${publicAddress(url.href)}: ${leads}`);
    }
    at = next;
  }
  throw new UserError(
    `Unable to download ${publicAddress(url.href)}: it leads from address to address, more than ${MOST_REDIRECTS} times`,
  );
}

/** fetch refuses an address with a user in it, and says it whole in doing so. */
function withoutUser(url: URL): { bare: URL; authorization: Record<string, string> } {
  const bare = new URL(url);
  [bare.username, bare.password] = ["", ""];
  if (url.username === "" && url.password === "") return { bare, authorization: {} };
  const user = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  return { bare, authorization: { authorization: `Basic ${Buffer.from(user).toString("base64")}` } };
}

interface Writing extends ObtainOptions {
  readonly source: string;
  /** Where the bytes begin in the file; what was behind goes. */
  readonly at: number;
  readonly total: number | undefined;
}

async function write(
  from: AsyncIterable<Uint8Array | string> | Iterable<Uint8Array>,
  path: string,
  { source, at, total, limit, onBytes }: Writing,
): Promise<void> {
  const refuse = () => {
    const what = source === "-" ? "standard input" : publicAddress(source);
    const folder = dirname(path);
    const why = limit > 0 ? `it is larger than ${limit} bytes, the room in ${folder}` : `there is no room in ${folder}`;
    throw new UserError(`Unable to get ${what}: ${why}`, {
      hint: `${shellText(["df", "-h", folder])}   # make room there`,
    });
  };
  if (total !== undefined && total > limit) refuse();
  const file = fs.openSync(path, fs.constants.O_WRONLY | fs.constants.O_CREAT | fs.constants.O_NOFOLLOW, 0o600);
  try {
    fs.ftruncateSync(file, at);
    let bytes = at;
    for await (const chunk of from) {
      const piece = typeof chunk === "string" ? Buffer.from(chunk) : chunk;
      if (bytes + piece.length > limit) refuse();
      for (let done = 0; done < piece.length;)
        done += fs.writeSync(file, piece, done, piece.length - done, bytes + done);
      bytes += piece.length;
      onBytes?.(bytes, total);
    }
    fs.fsyncSync(file);
    if (total !== undefined && bytes < total) throw new Error(`it was cut after ${bytes} of ${total} bytes`);
  } finally {
    fs.closeSync(file);
  }
}
