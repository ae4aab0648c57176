import type { Host } from "../host/host.ts";
import type { Report } from "../report/report.ts";
import { HOST_STATE, IMAGE_GOING, POOL, POOL_IMAGE, POOL_MOUNT_UNIT, POOL_MOUNT_UNIT_FILE } from "../paths.ts";
import type { PoolRecipe } from "./plan-pool.ts";

const LABEL = "opdbus";

/** Makes the pool as `findPool` planned it, and mounts it. */
export async function makePool(host: Host, recipe: PoolRecipe, report: Report): Promise<void> {
  // what the removal of an earlier one left must not be taken for one of this
  await host.remove(IMAGE_GOING);
  if (recipe.kind === "subvolume") {
    if ((await host.stat(POOL)) !== undefined) {
      // a mount point of a pool that was given up is sealed
      await host.run(["chattr", "-i", POOL]);
      await host.run(["rmdir", "--", POOL]);
    }
    await host.run(["btrfs", "subvolume", "create", "--", POOL]);
    return host.setAttributes(POOL, { mode: 0o755 });
  }
  await host.makeDirectory(HOST_STATE, { mode: 0o711 });
  if (recipe.kind === "loop") {
    if (recipe.image === "make") await makeImage(host, recipe.sizeBytes);
    await writeMountUnit(host, POOL_IMAGE, "loop,noatime");
  }
  if (recipe.kind === "device") {
    if (recipe.format) await host.run(["mkfs.btrfs", "--quiet", "--label", LABEL, "--", recipe.device]);
    const uuid = (
      await host.run(["blkid", "--probe", "--match-tag", "UUID", "--output", "value", "--", recipe.device])
    ).stdout.trim();
    await writeMountUnit(host, `/dev/disk/by-uuid/${uuid}`, "noatime");
  }
  await sealMountPoint(host, report);
  await host.run(["systemctl", "daemon-reload"]);
  await host.run(["systemctl", "enable", "--quiet", POOL_MOUNT_UNIT]);
  await host.run(["systemctl", "start", POOL_MOUNT_UNIT]);
}

// the image gets its name when it is whole, so that a cut never leaves half a file system behind
async function makeImage(host: Host, sizeBytes: number): Promise<void> {
  const unfinished = `${POOL_IMAGE}.new`;
  await host.remove(unfinished);
  await host.writeText(unfinished, "", { mode: 0o600 });
  await host.run(["truncate", "--size", String(sizeBytes), "--", unfinished]);
  await host.run(["mkfs.btrfs", "--quiet", "--label", LABEL, "--", unfinished]);
  await host.rename(unfinished, POOL_IMAGE);
}

async function writeMountUnit(host: Host, what: string, options: string): Promise<void> {
  // wanted, not required, by local-fs.target: a pool that is gone must not stop the host's boot;
  // and asserted, because mount(8) takes any loop device that once had a file of this name
  await host.writeText(
    POOL_MOUNT_UNIT_FILE,
    `[Unit]
Description=operation-dbus pool
Before=lxc.service pve-guests.service
RequiresMountsFor=${HOST_STATE}
${what === POOL_IMAGE ? `AssertPathExists=${POOL_IMAGE}\n` : ""}
[Mount]
What=${what}
Where=${POOL}
Type=btrfs
Options=${options}

[Install]
WantedBy=local-fs.target
`,
  );
}

// nobody may write below the mount point while the pool is not mounted, root included
async function sealMountPoint(host: Host, report: Report): Promise<void> {
  if ((await host.list(POOL)) === undefined) await host.makeDirectory(POOL, { mode: 0o755 });
  try {
    await host.run(["chattr", "+i", POOL]);
  } catch {
    report({
      kind: "warn",
      text: `${POOL} cannot be made immutable on this file system; our own commands check that the pool is mounted`,
    });
  }
}
