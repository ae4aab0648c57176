import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { labCache } from "./paths.ts";
import { findProcess, isAlive } from "./processes.ts";

/** The Debian releases a node can be. */
export type Suite = "bookworm" | "trixie";

/** A Debian host that nobody has prepared for us. */
const barePackages = [
  "systemd",
  "systemd-sysv",
  "dbus",
  "udev",
  "libpam-systemd",
  "kmod",
  "procps",
  "util-linux",
  "passwd",
  "sudo",
  "iproute2",
  "iputils-ping",
  "ca-certificates",
];

/** And what our package would fetch each time, with what tests look with. */
const packages = [
  ...barePackages,
  "libatomic1",
  "lxc",
  "uidmap",
  "btrfs-progs",
  "btrfs-compsize",
  "e2fsprogs",
  "mmdebstrap",
  "zstd",
];

/** Units that need hardware or a kernel of one's own. */
export const hardwareUnits = [
  "systemd-udevd.service",
  "systemd-udevd-control.socket",
  "systemd-udevd-kernel.socket",
  "systemd-udev-trigger.service",
  "systemd-modules-load.service",
  "systemd-remount-fs.service",
  "sys-kernel-debug.mount",
  "sys-kernel-tracing.mount",
];

/** And those that need a terminal; and timers that would take apt's lock when they like. */
const maskedUnits = [
  ...hardwareUnits,
  "getty@tty1.service",
  "console-getty.service",
  "apt-daily.timer",
  "apt-daily-upgrade.timer",
  "fstrim.timer",
  "e2scrub_all.timer",
];

/** QEMU and what makes its disks, in a root file system of their own: nothing of it goes onto this machine. */
const qemuPackages = ["qemu-system-x86", "e2fsprogs"];

/**
 * Gives the directory with the root file system of a fresh Debian node.
 * @param bare without what our package depends on
 */
export async function buildImage(suite: Suite, bare = false): Promise<string> {
  if (bare) {
    const recipe = { suite, packages: barePackages, maskedUnits };
    return buildRoot({ name: `bare-${suite}`, what: `the bare ${suite} node image`, ...recipe });
  }
  return buildRoot({ name: suite, what: `the ${suite} node image`, suite, packages, maskedUnits });
}

/** Gives the directory of a root file system with QEMU in it. */
export async function buildQemuImage(): Promise<string> {
  const recipe = { suite: "bookworm", packages: qemuPackages, maskedUnits: [] } as const;
  return buildRoot({ name: "qemu", what: "the image with QEMU", ...recipe });
}

interface Recipe {
  readonly name: string;
  readonly what: string;
  readonly suite: Suite;
  readonly packages: readonly string[];
  readonly maskedUnits: readonly string[];
}

/**
 * Makes a root file system by mmdebstrap the first time. It is named after
 * what went into it, so a change of the lists above makes a new one.
 */
async function buildRoot(recipe: Recipe): Promise<string> {
  const { name, what, suite } = recipe;
  const images = join(labCache, "images");
  const digest = createHash("sha256")
    .update(JSON.stringify([suite, recipe.packages, recipe.maskedUnits]))
    .digest("hex");
  const image = join(images, `${name}-${digest.slice(0, 12)}`);
  if (existsSync(image)) return image;

  await mkdir(images, { recursive: true });
  await removeAbandonedBuilds(images);
  const sources = await debianSources(suite);
  process.stderr.write(`lab: building ${what}, once; this takes about a minute\n`);
  const unfinished = join(images, `.building.${process.pid}.${findProcess(process.pid)?.startTime}.${name}`);
  const masks = recipe.maskedUnits.map((unit) => `ln -sf /dev/null "$1/etc/systemd/system/${unit}"`);
  const argv = [
    "--mode=root",
    "--variant=minbase",
    `--include=${recipe.packages.join(",")}`,
    ...masks.map((mask) => `--customize-hook=${mask}`),
    suite,
    unfinished,
    ...sources,
  ];
  const result = await execa("mmdebstrap", argv, { stdin: "ignore", all: true, reject: false });
  if (result.failed) {
    await rm(unfinished, { recursive: true, force: true });
    throw new Error(`Unable to build ${what}: mmdebstrap failed\n${lastLines(result.all)}`);
  }
  await rename(unfinished, image).catch(async (error: unknown) => {
    // Another run was quicker.
    await rm(unfinished, { recursive: true, force: true });
    if (!existsSync(image)) throw error;
  });
  return image;
}

/** The lines of sources.list for `suite`, from the Debian archives that this machine's own apt uses. */
async function debianSources(suite: Suite): Promise<string[]> {
  let pockets = await findPockets();
  if (!pockets.has("")) {
    process.stderr.write("lab: apt has no package lists yet: apt-get update\n");
    await execa("apt-get", ["update"], { stdin: "ignore", reject: false });
    pockets = await findPockets();
  }
  if (!pockets.has("")) throw new Error("Unable to find a Debian mirror in this machine's apt sources");
  return [...pockets].map(([pocket, uri]) => `deb ${uri} ${suite}${pocket} main`);
}

/** Address of each part of the Debian archive that apt has lists of: "", "-updates", "-security". */
async function findPockets(): Promise<Map<string, string>> {
  const format = "$(ORIGIN) $(CODENAME) $(REPO_URI)";
  const argv = ["indextargets", "--format", format, "Created-By: Packages", "Origin: Debian"];
  const { stdout } = await execa("apt-get", argv, { stdin: "ignore" });
  const pockets = new Map<string, string>();
  for (const line of stdout.split("\n")) {
    const match = /^Debian [a-z]+(?<pocket>-updates|-security)? (?<uri>.*?)\/*$/.exec(line);
    // The slashes at the end are left out: some mirrors refuse an address with two in a row.
    if (match?.groups?.["uri"]) pockets.set(match.groups["pocket"] ?? "", match.groups["uri"]);
  }
  return pockets;
}

async function removeAbandonedBuilds(images: string): Promise<void> {
  for (const name of await readdir(images)) {
    const [, building, pid, startTime] = name.split(".");
    if (building !== "building") continue;
    if (isAlive({ pid: Number(pid), startTime: startTime ?? "" })) continue;
    await rm(join(images, name), { recursive: true, force: true });
  }
}

function lastLines(text: string | undefined): string {
  return (text ?? "").split("\n").slice(-20).join("\n");
}
