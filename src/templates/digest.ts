import type { Host } from "../host/host.ts";
import { packArgv } from "./tree-archive.ts";

/**
 * What a tree is, as one number: the SHA-256 of the tar stream that `packArgv` makes of it.
 * @returns hex digest, and the size of all files together in bytes
 */
export async function digestTree(host: Host, path: string): Promise<{ digest: string; bytes: number }> {
  const summed = await host.pipe(packArgv(path), ["sha256sum", "--binary"]);
  const counted = await host.run(["du", "--summarize", "--apparent-size", "--block-size=1", "--", path]);
  return { digest: summed.stdout.split(" ")[0] ?? "", bytes: Number.parseInt(counted.stdout, 10) };
}
