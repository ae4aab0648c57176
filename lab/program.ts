import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { cp, mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { buildTree } from "./build.ts";
import type { Suite } from "./image.ts";
import { type LabNode, startNode } from "./node.ts";
import { labCache } from "./paths.ts";

/** Where the built program lies in a node before it is installed: where an admin would unpack it. */
export const TREE_IN_NODE = "/root/opdbus-pve";

/** The settings of a lab node. */
export const LAB_SETTINGS = "/etc/opdbus/conf.d/lab.toml";

/**
 * Puts the program on a node, and the one setting that this machine needs:
 * its kernel lends a node no cgroup controllers.
 */
export async function bringProgram(node: LabNode, tree: string): Promise<void> {
  await cp(tree, join(node.root, TREE_IN_NODE), { recursive: true });
  await mkdir(join(node.root, dirname(LAB_SETTINGS)), { recursive: true });
  await writeFile(join(node.root, LAB_SETTINGS), '[container]\nlimits = "best-effort"\n');
}

/**
 * A node on which this very program was installed, with its template built.
 * The first call installs it for real and saves the disk; later ones start from that.
 */
export async function startInstalledNode(name: string, suite: Suite = "trixie"): Promise<LabNode> {
  return startNode({ name, layer: await installedLayer(suite) });
}

/** The name of the disk layer of such a node; made where missing. */
export async function installedLayer(suite: Suite): Promise<string> {
  const tree = await buildTree();
  const digest = createHash("sha256")
    .update(readFileSync(join(tree, "tree.json")))
    .digest("hex")
    .slice(0, 12);
  const layer = `installed-${suite}-${digest}`;
  if (!existsSync(join(labCache, "layers", layer, "layer.json"))) await installLayer(tree, suite, layer);
  return layer;
}

async function installLayer(tree: string, suite: Suite, layer: string): Promise<void> {
  await removeOldLayers(suite);
  const node = await startNode({ name: "installer", suite });
  try {
    await bringProgram(node, tree);
    await must(node, ["apt-get", "update", "-qq"]);
    await must(node, [`${TREE_IN_NODE}/opdbus-pve`, "install", "--yes", "--pool-size", "8G"]);
    await node.saveLayer(layer);
  } finally {
    await node.stop();
  }
}

// each holds a gigabyte, and the program that made it is no more
async function removeOldLayers(suite: Suite): Promise<void> {
  const layers = join(labCache, "layers");
  const mounts = readFileSync("/proc/self/mountinfo", "utf8");
  for (const name of existsSync(layers) ? await readdir(layers) : []) {
    const inUse = mounts.includes(`layers/${name}/`);
    if (name.startsWith(`installed-${suite}-`) && !inUse) await rm(join(layers, name), { recursive: true });
  }
}

async function must(node: LabNode, argv: readonly string[]): Promise<void> {
  const { exitCode, stdout, stderr } = await node.run(argv);
  if (exitCode !== 0) throw new Error(`${argv.join(" ")} exited with ${exitCode}:\n${stdout}${stderr}`);
}
