import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { cp, mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { buildDeb } from "../packaging/build-deb.ts";
import type { Suite } from "./image.ts";
import { type LabNode, startNode } from "./node.ts";
import { labCache } from "./paths.ts";

/** The settings of a lab node. */
export const LAB_SETTINGS = "/etc/opdbus/conf.d/lab.toml";

/**
 * Builds the package quickly, and the same again for the same source, whatever the commit.
 * @param version that of package.json unless given
 */
export async function buildLabDeb(version?: string): Promise<string> {
  const named = version === undefined ? {} : { version };
  return buildDeb({ sourceDateEpoch: 1_000_000_000, compression: "none", folder: "lab", ...named });
}

/**
 * Puts a package into a node's /root, and the one setting that this machine
 * needs: its kernel lends a node no cgroup controllers.
 * @returns where the node has it
 */
export async function bringDeb(node: LabNode, deb: string): Promise<string> {
  const path = join("/root", basename(deb));
  await cp(deb, join(node.root, path));
  await mkdir(join(node.root, dirname(LAB_SETTINGS)), { recursive: true });
  await writeFile(join(node.root, LAB_SETTINGS), '[container]\nlimits = "best-effort"\n');
  return path;
}

/**
 * A node on which this very program was installed, with its template built.
 * The first call installs it for real and saves the disk; later ones start from that.
 */
export async function startInstalledNode(name: string, suite: Suite = "trixie"): Promise<LabNode> {
  return startNode({ name, layer: await installedLayer(suite) });
}

/** The name of the disk layer of a node that has this very package, and has not run it yet; made where missing. */
export async function packagedLayer(suite: Suite): Promise<string> {
  return (await makeLayers(suite)).packaged;
}

/** The name of the disk layer of an installed node; made where missing. */
export async function installedLayer(suite: Suite): Promise<string> {
  const { packaged, digest } = await makeLayers(suite);
  const layer = `installed-${suite}-${digest}`;
  if (isThere(layer)) return layer;
  const node = await startNode({ name: "installer", layer: packaged });
  try {
    await must(node, ["apt-get", "update", "-qq"]);
    await must(node, ["opdbus-pve", "install", "--yes", "--pool-size", "8G"]);
    await node.saveLayer(layer);
  } finally {
    await node.stop();
  }
  return layer;
}

async function makeLayers(suite: Suite): Promise<{ packaged: string; digest: string }> {
  const deb = await buildLabDeb();
  const digest = createHash("sha256").update(readFileSync(deb)).digest("hex").slice(0, 12);
  const packaged = `packaged-${suite}-${digest}`;
  if (isThere(packaged)) return { packaged, digest };
  await removeOldLayers(suite);
  const node = await startNode({ name: "installer", suite, network: false });
  try {
    const path = await bringDeb(node, deb);
    await must(node, ["apt-get", "install", "--yes", path]);
    await must(node, ["rm", path]);
    await node.saveLayer(packaged);
  } finally {
    await node.stop();
  }
  return { packaged, digest };
}

function isThere(layer: string): boolean {
  return existsSync(join(labCache, "layers", layer, "layer.json"));
}

// each holds up to a gigabyte, and the program that made it is no more
async function removeOldLayers(suite: Suite): Promise<void> {
  const layers = join(labCache, "layers");
  const mounts = readFileSync("/proc/self/mountinfo", "utf8");
  for (const name of existsSync(layers) ? await readdir(layers) : []) {
    const isOld = name.startsWith(`installed-${suite}-`) || name.startsWith(`packaged-${suite}-`);
    if (isOld && !mounts.includes(`layers/${name}/`)) await rm(join(layers, name), { recursive: true });
  }
}

async function must(node: LabNode, argv: readonly string[]): Promise<void> {
  const { exitCode, stdout, stderr } = await node.run(argv);
  if (exitCode !== 0) throw new Error(`${argv.join(" ")} exited with ${exitCode}:\n${stdout}${stderr}`);
}
