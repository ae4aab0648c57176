// From nothing to a container whose systemd has started all it wants to.
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { attachByLxd, deleteByLxd, launchByLxd } from "./lxd.ts";
import { create, destroy, next, POOL, SCRATCH, type Series, settled, takeTurns, TEMPLATE, time } from "./turns.ts";

const ROUNDS = 7;

/** With and without waiting for the guest's systemd; by us, by bare commands, and by LXD. */
export async function measureBoot() {
  const like = next("like");
  time(...create([like]));
  const config = readFileSync(join(POOL, "@containers", like, "config"), "utf8");
  const { bare, launch, ...rest } = await takeTurns(ROUNDS, {
    started: () => createStarted("--start"),
    booted: () => createStarted("--wait"),
    bare: () => bootBare(like, config),
    launch: () => bootByLxd(),
  });
  return {
    ...rest,
    bareBooted: bare,
    // two figures of each turn: until its init ran, and until all was started
    lxdStarted: launch.filter((_, index) => index % 2 === 0),
    lxdBooted: launch.filter((_, index) => index % 2 === 1),
  };
}

async function createStarted(how: "--start" | "--wait"): Promise<Series> {
  const name = next("boot");
  const took = time(...create([name], how));
  destroy([name]);
  return settled(took);
}

/** The same container by the tools alone: a snapshot, its configuration, lxc-start, and waiting. */
async function bootBare(like: string, config: string): Promise<Series> {
  const name = next("boot-bare");
  const folder = join("/var/lib/lxc", name);
  const rootfs = join(SCRATCH, name);
  const began = performance.now();
  mkdirSync(folder);
  time("btrfs", "subvolume", "snapshot", "--", TEMPLATE, rootfs);
  const ours = join(POOL, "@containers", like, "rootfs");
  writeFileSync(join(folder, "config"), config.replaceAll(ours, rootfs).replaceAll(like, name));
  time("lxc-start", "--name", name);
  await booted(["lxc-attach", "--name", name, "--"]);
  const took = performance.now() - began;
  time("lxc-stop", "--kill", "--name", name);
  time("btrfs", "subvolume", "delete", rootfs);
  rmSync(folder, { recursive: true });
  return settled(took);
}

async function bootByLxd(): Promise<Series> {
  const name = next("boot-lxd");
  const began = performance.now();
  const started = launchByLxd(name);
  await booted(attachByLxd(name));
  const took = performance.now() - began;
  deleteByLxd(name);
  return [started, ...(await settled(took))];
}

/** Waits as the product does: in the guest, once its message bus is there. */
async function booted([attach, ...words]: readonly [string, ...string[]]): Promise<void> {
  const argv = [...words, "systemctl", "is-system-running", "--wait"];
  for (;;) {
    const { stdout } = spawnSync(attach, argv, { stdio: ["ignore", "pipe", "ignore"], encoding: "utf8" });
    if (/^(running|degraded)$/m.test(stdout)) return;
    await delay(20);
  }
}
