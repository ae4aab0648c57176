import { join } from "node:path";
import type { Host } from "../host/host.ts";
import { HOST_STATE } from "../paths.ts";
import { claimName, sweepAbandoned } from "../pool/claims.ts";

/**
 * Where mmdebstrap unpacks before it hands the tree on. Root's own, since what
 * lies here becomes part of the template; and passable, since the build's
 * mapped root works in it.
 */
export const SCRATCH = `${HOST_STATE}/build`;

/** Does work in a folder of its own that is gone afterwards; what a killed process left of its own goes first. */
export async function inScratch<Result>(
  host: Host,
  name: string,
  work: (folder: string) => Promise<Result>,
): Promise<Result> {
  await sweepAbandoned(host, SCRATCH);
  const folder = join(SCRATCH, await claimName(host, "new", name));
  try {
    for (const each of [HOST_STATE, SCRATCH, folder]) await host.makeDirectory(each, { mode: 0o711 });
    return await work(folder);
  } finally {
    await host.remove(folder);
  }
}
