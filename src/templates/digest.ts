import { ID_RANGE_SIZE } from "../config/limits.ts";
import { CommandFailed } from "../host/command-failed.ts";
import { EXIT, UserError } from "../host/errors.ts";
import type { Argv, Host } from "../host/host.ts";
import { packArgv } from "./tree-archive.ts";

/**
 * What a tree is, as one number: the SHA-256 of the tar stream that `packArgv` makes of it.
 * @returns hex digest, and the size of all files together in bytes
 */
export async function digestTree(host: Host, path: string): Promise<{ digest: string; bytes: number }> {
  const counted = await host.run(["du", "--summarize", "--apparent-size", "--block-size=1", "--", path]);
  return { digest: await digestOf(host, packArgv(path)), bytes: Number.parseInt(counted.stdout, 10) };
}

/**
 * The same number of a tree whose ids are shifted, read by the root of a user
 * namespace that maps them back: that of the tree from which it was made.
 * @throws {UserError} when root may not map these ids
 */
export async function digestShifted(host: Host, path: string, idStart: number): Promise<string> {
  const mapped = ["lxc-usernsexec", "-m", `b:0:${idStart}:${ID_RANGE_SIZE}`, "--", ...packArgv(".")];
  // who is root there may not walk through the pool, but stay where he was put
  try {
    return await digestOf(host, ["env", `--chdir=${path}`, ...mapped]);
  } catch (error) {
    if (!(error instanceof CommandFailed) || !/new[ug]idmap/.test(error.result.stderr)) throw error;
    const range = `${idStart}-${idStart + ID_RANGE_SIZE - 1}`;
    throw new UserError(`Unable to read ${path}: root may not map the ids ${range} (/etc/subuid, /etc/subgid)`, {
      hint: `usermod --add-subuids ${range} --add-subgids ${range} root`,
      exitCode: EXIT.unsupported,
      cause: error,
    });
  }
}

async function digestOf(host: Host, stream: Argv): Promise<string> {
  return (await host.pipe(stream, ["sha256sum", "--binary"])).stdout.split(" ")[0] ?? "";
}
