import type { Host } from "../host/host.ts";
import { CommandFailed } from "../host/command-failed.ts";
import { confinedTo } from "./tree-archive.ts";

/** What is installed in a tree, package name to version; empty where neither dpkg nor apk keeps a list. */
export async function listPackages(host: Host, rootfs: string): Promise<Record<string, string>> {
  const debian = await read(host, rootfs, [
    "dpkg-query",
    "--show",
    "--admindir=/tree/var/lib/dpkg",
    "--showformat=${Package} ${Version}\\n",
  ]);
  const pairs =
    debian === "" ? alpinePackages(await read(host, rootfs, ["cat", "/tree/lib/apk/db/installed"])) : lines(debian);
  return Object.fromEntries(pairs);
}

/** A list of packages is read in a moment. What is in its place may be a pipe, of which nothing ever comes. */
const LOOK_MS = 10_000;

// whoever shaped the tree shaped the lists in it: they may be anything, and lead anywhere
async function read(host: Host, rootfs: string, argv: readonly [string, ...string[]]): Promise<string> {
  try {
    return (await host.run(confinedTo(rootfs, argv), { timeoutMs: LOOK_MS })).stdout;
  } catch (error) {
    if (error instanceof CommandFailed) return "";
    throw error;
  }
}

function lines(text: string): [string, string][] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.split(" ") as [string, string]);
}

/** @see apk's database: a package is a paragraph, P: its name, V: its version */
function alpinePackages(text: string): [string, string][] {
  return text.split("\n\n").flatMap((paragraph): [string, string][] => {
    const [name, version] = ["P", "V"].map((key) => new RegExp(`^${key}:(.+)$`, "m").exec(paragraph)?.[1]);
    return name === undefined || version === undefined ? [] : [[name, version]];
  });
}
