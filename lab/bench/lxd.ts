// LXD, with the same template on the same pool: what it takes for the same jobs.
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { POOL, run, TEMPLATE, time } from "./turns.ts";

const IMAGE = "base";
/** What `lxc copy` copies: made from the image, and never started. */
const ORIGINAL = "original";

const PRESEED = {
  storage_pools: [{ name: "default", driver: "btrfs", config: { source: join(POOL, "lxd") } }],
  profiles: [{ name: "default", devices: { root: { path: "/", pool: "default", type: "disk" } } }],
};

/**
 * Installs LXD from Debian's archive and gives it the template as an image.
 * @returns its version
 */
export function setUpLxd(): string {
  time("apt-get", "update", "-qq");
  time("apt-get", "install", "--yes", "-qq", "--no-install-recommends", "lxd", "lxd-client");
  // its unit wants lxcfs, and FUSE with it
  time("systemctl", "mask", "--now", "--quiet", "lxd.socket", "lxd.service", "lxd-containers.service");
  time("systemd-run", "--quiet", "--unit=bench-lxd", "--property=Delegate=yes", "lxd", "--group", "root");
  time("lxd", "waitready", "--timeout=60");
  const preseeded = spawnSync("lxd", ["init", "--preseed"], { input: JSON.stringify(PRESEED), encoding: "utf8" });
  if (preseeded.status !== 0) throw new Error(`Unable to set up LXD: ${preseeded.stderr}`);
  const folder = "/tmp/bench-image";
  mkdirSync(folder);
  writeFileSync(
    join(folder, "metadata.yaml"),
    JSON.stringify({ architecture: "x86_64", creation_date: 1_700_000_000, properties: { description: IMAGE } }),
  );
  time("tar", "-C", folder, "-czf", `${folder}/meta.tar.gz`, "metadata.yaml");
  time("tar", "--zstd", "--numeric-owner", "-cf", `${folder}/tree.tar.zst`, "-C", TEMPLATE, ".");
  time("lxc", "image", "import", `${folder}/meta.tar.gz`, `${folder}/tree.tar.zst`, "--alias", IMAGE);
  // unpacks the image, which it keeps as a subvolume from then on
  time("lxc", "init", IMAGE, ORIGINAL);
  return run("lxd", "--version").stdout.trim();
}

/** `lxc copy` of a container that was never started. */
export function copyByLxd(name: string): number {
  return time("lxc", "copy", ORIGINAL, name);
}

/** `lxc launch`, which comes back when the container's init runs. */
export function launchByLxd(name: string): number {
  return time("lxc", "launch", IMAGE, name);
}

/** The beginning of a command line that runs a command in one of its containers. */
export function attachByLxd(name: string): [string, ...string[]] {
  return ["lxc", "exec", name, "--"];
}

/** Removes one of its containers, running or not. */
export function deleteByLxd(name: string): void {
  time("lxc", "delete", "--force", name);
}
