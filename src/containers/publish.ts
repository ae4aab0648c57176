import { join } from "node:path";
import type { Host } from "../host/host.ts";
import { requirePool } from "../pool/find-pool.ts";
import { replaceNested, snapshotSubvolume } from "../pool/subvolumes.ts";
import type { Report } from "../report/report.ts";
import { addVersion, timeStamp } from "../templates/add-version.ts";
import { IDENTITY, marker, stageOverlay } from "../templates/contents.ts";
import { BUILT_FILES } from "../templates/definition.ts";
import { lockTemplate, type Manifest } from "../templates/manifest.ts";
import { inScratch } from "../templates/scratch.ts";
import { unpackArgv } from "../templates/tree-archive.ts";
import { forgetIdentity } from "./identity.ts";
import { refuseRunning } from "./move-stopped.ts";
import { containerFolder, type ContainerRecord, holding, readRecord } from "./record.ts";

/** What a container has been and done, beside its identity: patterns of paths. */
const TRACES = [
  "/etc/netclient",
  "/etc/netmaker/join-key",
  // says what the template is that it was made from
  BUILT_FILES.marker,
  "/var/lib/dhcp/*",
  "/var/lib/systemd/timers/*",
  "/var/log/journal/*",
  "/root/.bash_history",
  "/tmp/*",
  "/var/tmp/*",
  "/run/*",
];

/**
 * Makes a stopped container a new version of a template, and the current one:
 * a snapshot of its root file system without what makes it this container.
 * The container stays as it is.
 * @throws {UserError} when it runs, or holds a secret that stays
 */
export async function publishContainer(host: Host, name: string, template: string, report: Report): Promise<Manifest> {
  await requirePool(host);
  await readRecord(host, name);
  const release = await lockTemplate(host, template, "publish");
  try {
    return await inScratch(host, template, async (scratch) => {
      const epoch = Math.floor(Date.now() / 1000);
      const fill = async (rootfs: string, version: string) => {
        const from = await takeTree(host, name, rootfs);
        await tellNested(host, rootfs, report);
        await tellKeys(host, rootfs, report);
        await forgetIdentity(host, rootfs);
        await removeTraces(host, rootfs);
        const overlay = await stageOverlay(host, { files: [marker({ name: template, version })], epoch, scratch });
        await host.pipe(["cat", "--", overlay], unpackArgv(rootfs));
        const origin = {
          type: "container",
          container: name,
          template: `${from.template} ${from.templateVersion}`,
        } as const;
        return { origin };
      };
      const wanted = { name: template, stamp: timeStamp(epoch), task: `publishing ${name}`, fill };
      return await addVersion(host, wanted, report);
    });
  } finally {
    await release();
  }
}

/** Copies the tree of a stopped container, and gives the record that belongs to it. */
async function takeTree(host: Host, name: string, rootfs: string): Promise<ContainerRecord> {
  return holding(host, name, "publish", async () => {
    const record = await readRecord(host, name);
    await refuseRunning(host, name);
    await snapshotSubvolume(host, join(containerFolder(name), "rootfs"), rootfs);
    // a start meanwhile would have left its traces in what we took
    await refuseRunning(host, name);
    return record;
  });
}

/** Says that subvolumes which the guest made are no part of it. */
async function tellNested(host: Host, rootfs: string, report: Report): Promise<void> {
  for (const path of await replaceNested(host, rootfs)) {
    const text = `the subvolume ${path} in the container is not published: it is a folder, and empty`;
    report({ kind: "warn", text });
  }
}

/** Whoever may log in as root of this container may do so in every clone: that can be meant. */
async function tellKeys(host: Host, rootfs: string, report: Report): Promise<void> {
  const keys = "/root/.ssh/authorized_keys";
  const look = ["find", rootfs, "-xdev", "-path", `${rootfs}${keys}`, "-type", "f", "-size", "+0"] as const;
  if ((await host.run(look)).stdout === "") return;
  report({ kind: "warn", text: `the keys in ${keys} are published, too: they open every container made from this` });
}

// The guest shaped this tree: find follows no link, and nobody else can change the snapshot meanwhile.
async function removeTraces(host: Host, rootfs: string): Promise<void> {
  const patterns = [...IDENTITY, ...TRACES].flatMap((path) => [`${rootfs}${path}`, `${rootfs}${path}/*`]);
  const any = patterns.flatMap((pattern) => ["-o", "-path", pattern]).slice(1);
  await host.run(["find", rootfs, "-xdev", "-mindepth", "1", "(", ...any, ")", "-delete"]);
}
