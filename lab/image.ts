import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { labCache } from "./paths.ts";
import { findProcess, isAlive } from "./processes.ts";

/** The Debian releases a node can be. */
export type Suite = "bookworm" | "trixie";

/** What an installed node would have before our program comes, and what our own first steps would fetch each time. */
const packages = [
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
  "libatomic1",
  "lxc",
  "uidmap",
  "btrfs-progs",
  "btrfs-compsize",
  "e2fsprogs",
  "mmdebstrap",
  "zstd",
];

/** Units that need hardware, a kernel of one's own or a terminal; and timers that would take apt's lock when they like. */
const maskedUnits = [
  "systemd-udevd.service",
  "systemd-udevd-control.socket",
  "systemd-udevd-kernel.socket",
  "systemd-udev-trigger.service",
  "systemd-modules-load.service",
  "systemd-remount-fs.service",
  "sys-kernel-debug.mount",
  "sys-kernel-tracing.mount",
  "getty@tty1.service",
  "console-getty.service",
  "apt-daily.timer",
  "apt-daily-upgrade.timer",
  "fstrim.timer",
  "e2scrub_all.timer",
];

/**
 * Gives the directory with the root file system of a fresh Debian node, made by
 * mmdebstrap the first time. It is named after what went into it, so a change
 * of the lists above makes a new one.
 */
export async function buildImage(suite: Suite): Promise<string> {
  const images = join(labCache, "images");
  const digest = createHash("sha256")
    .update(JSON.stringify([suite, packages, maskedUnits]))
    .digest("hex");
  const image = join(images, `${suite}-${digest.slice(0, 12)}`);
  if (existsSync(image)) return image;

  await mkdir(images, { recursive: true });
  await removeAbandonedBuilds(images);
  const sources = await debianSources(suite);
  process.stderr.write(`lab: building the ${suite} node image, once; this takes about a minute\n`);
  const unfinished = join(images, `.building.${process.pid}.${findProcess(process.pid)?.startTime}.${suite}`);
  const masks = maskedUnits.map((unit) => `ln -sf /dev/null "$1/etc/systemd/system/${unit}"`);
  const argv = [
    "--mode=root",
    "--variant=minbase",
    `--include=${packages.join(",")}`,
    ...masks.map((mask) => `--customize-hook=${mask}`),
    suite,
    unfinished,
    ...sources,
  ];
  const result = await execa("mmdebstrap", argv, { stdin: "ignore", all: true, reject: false });
  if (result.failed) {
    await rm(unfinished, { recursive: true, force: true });
    throw new Error(`Unable to build the ${suite} node image: mmdebstrap failed\n${lastLines(result.all)}`);
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
