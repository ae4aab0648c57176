import { readFileSync, statSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { execa } from "execa";
import { labCache } from "./paths.ts";
import { waitUntil } from "./processes.ts";

/**
 * A node's disk is an overlay: DIRECTORY/root shows DIRECTORY/upper, which the
 * node writes, over `lower`: saved layers, newest first, and an image last.
 */
export async function mountDisk(directory: string, lower: readonly string[]): Promise<void> {
  for (const name of ["upper", "work", "root"]) await mkdir(join(directory, name), { recursive: true });
  const options = [
    `lowerdir=${lower.map(fromCache).join(":")}`,
    `upperdir=${fromCache(join(directory, "upper"))}`,
    `workdir=${fromCache(join(directory, "work"))}`,
  ];
  const argv = ["-t", "overlay", "overlay", "-o", options.join(","), fromCache(join(directory, "root"))];
  await execa("mount", argv, { cwd: labCache });
}

/** Relative, because overlay's options have a limit in length, and colons and commas of their own. */
function fromCache(path: string): string {
  return relative(labCache, path);
}

/** Unmounts what mountDisk mounted, once nothing uses it any more. */
export async function unmountDisk(directory: string): Promise<void> {
  const root = join(directory, "root");
  await waitUntil(
    async () => {
      if (!isMounted(root)) return true;
      const result = await execa("umount", [root], { reject: false });
      return !result.failed;
    },
    { timeoutMs: 10_000, what: `${root} to be unmounted` },
  );
}

/** Removes a node's directory. Refuses while anything is mounted below it. */
export async function removeDisk(directory: string): Promise<void> {
  if (isMounted(directory)) throw new Error(`Unable to remove ${directory}: something is mounted below it`);
  await rm(directory, { recursive: true, force: true });
}

/**
 * Frees the loop devices whose files lie on this node's disk: those the kernel
 * frees by itself as the node's mounts go, and those the node set up and left.
 */
export async function detachLoopDevices(directory: string): Promise<void> {
  const root = join(directory, "root");
  if (!isMounted(root)) return;
  const left = await listLoopDevices(root);
  const gone = async () => (await listLoopDevices(root)).length === 0;
  // The kernel unmounts a dead node's file systems in its own time.
  const freed = await waitUntil(gone, { timeoutMs: left.length === 0 ? 0 : 500, what: "" }).then(
    () => true,
    () => false,
  );
  if (freed) return;
  for (const device of await listLoopDevices(root)) await execa("losetup", ["--detach", device], { reject: false });
  await waitUntil(gone, { timeoutMs: 10_000, what: `the loop devices of ${root} to be free` });
}

/** The loop devices that stand for files on the disk mounted at `root`, by the number the kernel gave that mount. */
export async function listLoopDevices(root: string): Promise<string[]> {
  const { dev } = statSync(root);
  const mount = `${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}`;
  const { stdout } = await execa("losetup", ["--list", "--json", "--output", "NAME,BACK-MAJ:MIN"]);
  // Without any loop device it prints nothing at all; and numbers are padded.
  const { loopdevices } = JSON.parse(stdout === "" ? '{"loopdevices":[]}' : stdout) as LoopDevices;
  return loopdevices.filter((loop) => loop["back-maj:min"]?.trim() === mount).map(({ name }) => name);
}

interface LoopDevices {
  readonly loopdevices: readonly { readonly name: string; readonly "back-maj:min": string | null }[];
}

/** What a saved layer lies on, newest first, the image last. */
interface LayerRecord {
  readonly below: readonly string[];
}

/** Turns an unmounted disk's changes into the layer `name`; gives what a disk on top of it lies on. */
export async function saveDiskAsLayer(directory: string, lower: readonly string[], name: string): Promise<string[]> {
  const layer = join(labCache, "layers", name);
  await removeLayer(layer);
  await mkdir(layer, { recursive: true });
  await rename(join(directory, "upper"), join(layer, "disk"));
  await rm(join(directory, "work"), { recursive: true });
  const record: LayerRecord = { below: lower.map((path) => relative(labCache, path)) };
  await writeFile(join(layer, "layer.json"), JSON.stringify(record));
  return [join(layer, "disk"), ...lower];
}

/** What a disk on top of the layer `name` lies on, newest first. */
export async function openLayer(name: string): Promise<string[]> {
  const layer = join(labCache, "layers", name);
  const text = await readFile(join(layer, "layer.json"), "utf8").catch((error: unknown) => {
    throw new Error(`Unable to start from the layer ${name}: it was not saved`, { cause: error });
  });
  const { below } = JSON.parse(text) as LayerRecord;
  return [join(layer, "disk"), ...below.map((path) => join(labCache, path))];
}

async function removeLayer(layer: string): Promise<void> {
  const layers = await readdir(dirname(layer)).catch((): string[] => []);
  if (!layers.includes(basename(layer))) return;
  const used = readFileSync("/proc/self/mountinfo", "utf8").includes(relative(labCache, join(layer, "disk")));
  if (used) throw new Error(`Unable to save the layer ${basename(layer)}: a running node lies on the one of that name`);
  await rm(layer, { recursive: true });
}

/** True while this path is a mount point, or has one below it. */
function isMounted(path: string): boolean {
  const mounts = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  return mounts.some((line) => {
    const target = line
      .split(" ")[4]
      ?.replaceAll(/\\(\d{3})/g, (_, octal: string) => String.fromCodePoint(Number.parseInt(octal, 8)));
    return target === path || target?.startsWith(`${path}/`);
  });
}
