import { join } from "node:path";
import type { Host } from "../host/host.ts";
import { HOST_STATE } from "../paths.ts";
import { claimName, sweepAbandoned } from "../pool/claims.ts";

/**
 * Where a tree is put together before it is handed on. Root's own, since what
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

/** What unshare(1) is told to make us root of a user namespace with root's subordinate ids, as mmdebstrap does. */
export const MAPPED: readonly string[] = ["--map-users=auto", "--map-groups=auto", "--setuid=0", "--setgid=0"];

/**
 * Makes the folder in which a build's mapped root works, and nobody else: no
 * user of the host runs what is set-uid in there, or puts something beside it.
 * @param folder of `inScratch`
 */
export async function makeWorkshop(host: Host, folder: string): Promise<string> {
  const path = join(folder, "tmp");
  const maps = await host.run(["unshare", ...MAPPED, "--", "cat", "/proc/self/uid_map", "/proc/self/gid_map"]);
  const [uid, gid] = [...maps.stdout.matchAll(/^\s*0\s+(\d+)\s/gm)].map(([, first]) => Number(first));
  if (uid === undefined || gid === undefined) throw new Error(`no mapping of root in ${maps.stdout}`);
  await host.makeDirectory(path, { mode: 0o700, uid, gid });
  return path;
}
