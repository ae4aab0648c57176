import type { MemoryHost } from "./memory-host.ts";
import { CONTAINERS, POOL, TEMPLATES } from "../src/paths.ts";
import { debianHost } from "./debian-host.ts";

export const VERSION_NAME = "20261101T120000Z";

const MANIFEST = {
  schema: 1,
  name: "debian-base",
  version: VERSION_NAME,
  suite: "trixie",
  digest: "0".repeat(64),
  definition: "1".repeat(64),
  sourceDateEpoch: 1,
  builtAt: "2026-11-01T12:00:00.000Z",
  buildSeconds: 30,
  bytes: 1000,
  packages: { systemd: "257" },
};

/** An installed host in memory: a pool, the ids of containers, and a built template debian-base. */
export function installedHost(options: Parameters<typeof debianHost>[0] = {}): MemoryHost {
  const template = `${TEMPLATES}/debian-base`;
  const rootfs = `${template}/versions/${VERSION_NAME}/rootfs`;
  return debianHost({
    ...options,
    files: {
      "/etc/subuid": "root:100000:65536\n",
      "/etc/subgid": "root:100000:65536\n",
      [POOL]: { inode: 256 },
      [CONTAINERS]: { inode: 256, mode: 0o700 },
      [TEMPLATES]: { inode: 256, mode: 0o700 },
      [rootfs]: { inode: 256, properties: { ro: "true" } },
      [`${rootfs}/etc/debian_version`]: "13.2\n",
      [`${template}/versions/${VERSION_NAME}/manifest.json`]: JSON.stringify(MANIFEST),
      [`${template}/rootfs`]: { target: `versions/${VERSION_NAME}/rootfs` },
      ...options.files,
    },
  });
}
