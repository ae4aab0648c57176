import { existsSync } from "node:fs";
import { copyFile, mkdir, readdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { execa } from "execa";
import { mountDisk, unmountDisk } from "../disk.ts";
import { buildImage, buildQemuImage, hardwareUnits, type Suite } from "../image.ts";
import { startNode } from "../node.ts";
import { labCache } from "../paths.ts";
import { buildLabDeb, installedLayer } from "../program.ts";

/** What a virtual machine starts from. */
export interface VmDisk {
  /** An ext4 file system in a sparse file; not to be written to. */
  readonly image: string;
  readonly kernel: string;
  readonly initrd: string;
}

/** A template as an archive, in the machine's /root: it has no network to build one with. */
export const TEMPLATE_ARCHIVE = "/root/debian-base.tar.zst";

/** What a node lacks to run on a kernel of its own: Debian's, and what that kernel asks for. */
const PACKAGES = ["linux-image-amd64", "initramfs-tools", "apparmor"];

/**
 * Makes the disk of a virtual machine, once for each program: a fresh Debian
 * with a kernel of its own, the package and a template's archive in /root.
 */
export async function buildVmDisk(suite: Suite): Promise<VmDisk> {
  const layer = await installedLayer(suite);
  const disks = join(labCache, "vm-disks");
  const folder = join(disks, layer);
  const disk = {
    image: join(folder, "disk.ext4"),
    kernel: join(folder, "vmlinuz"),
    initrd: join(folder, "initrd.img"),
  };
  if (existsSync(folder)) return disk;
  process.stderr.write(
    `lab: building the disk of a ${suite} machine with Debian's kernel; this takes about a minute\n`,
  );
  await removeOldDisks(disks, suite);
  const work = join(disks, `.building.${process.pid}.${suite}`);
  await mkdir(work, { recursive: true });
  await mountDisk(work, [await buildImage(suite)]);
  try {
    const root = join(work, "root");
    const deb = await buildLabDeb();
    await copyFile(deb, join(root, "root", basename(deb)));
    await exportTemplate(layer, join(root, TEMPLATE_ARCHIVE));
    await installKernel(root);
    await makeBootable(root);
    const finished = join(work, "finished");
    await mkdir(finished);
    for (const [name, to] of [
      ["vmlinuz", "vmlinuz"],
      ["initrd.img", "initrd.img"],
    ] as const) {
      await copyFile(join(root, "boot", await findIn(join(root, "boot"), name)), join(finished, to));
    }
    await makeFileSystem(root, finished);
    await unmountDisk(work);
    await rename(finished, folder);
  } finally {
    await unmountDisk(work);
    await rm(work, { recursive: true });
  }
  return disk;
}

async function removeOldDisks(disks: string, suite: Suite): Promise<void> {
  for (const name of await readdir(disks).catch((): string[] => [])) {
    if (!name.startsWith(`installed-${suite}-`) && !name.endsWith(`.${suite}`)) continue;
    await unmountDisk(join(disks, name));
    await rm(join(disks, name), { recursive: true });
  }
}

/** The template that an installed node has built. */
async function exportTemplate(layer: string, to: string): Promise<void> {
  const node = await startNode({ name: "exporter", layer, network: false });
  try {
    const argv = ["op-dbus", "template", "export", "debian-base", "--output", TEMPLATE_ARCHIVE];
    const { exitCode, stderr } = await node.run(argv);
    if (exitCode !== 0) throw new Error(`${argv.join(" ")} exited with ${exitCode}:\n${stderr}`);
    await copyFile(join(node.root, TEMPLATE_ARCHIVE), to);
  } finally {
    await node.stop();
  }
}

async function installKernel(root: string): Promise<void> {
  // The node's own resolver is that of its network.
  await copyFile("/etc/resolv.conf", join(root, "etc/resolv.conf"));
  const install = `mount -t proc proc "$1/proc"
    export DEBIAN_FRONTEND=noninteractive
    chroot "$1" apt-get update -qq
    chroot "$1" apt-get install --yes -qq --no-install-recommends ${PACKAGES.join(" ")}`;
  await inMountNamespace(install, [root]);
}

async function makeBootable(root: string): Promise<void> {
  const etc = join(root, "etc");
  for (const unit of hardwareUnits) await rm(join(etc, "systemd/system", unit), { force: true });
  await writeFile(join(etc, "fstab"), "/dev/vda / ext4 defaults 0 1\n");
  await writeFile(join(etc, "hostname"), "vm\n");
  await writeFile(join(etc, "hosts"), "127.0.0.1 localhost vm\n");
  await writeFile(join(etc, "machine-id"), "");
  await copyFile(join(import.meta.dirname, "command-port.sh"), join(root, "usr/local/sbin/lab-command-port"));
  const unit = "lab-command-port.service";
  await writeFile(
    join(etc, "systemd/system", unit),
    "[Service]\nExecStart=/bin/sh /usr/local/sbin/lab-command-port\nKillMode=process\nRestart=always\n",
  );
  await symlink(`/etc/systemd/system/${unit}`, join(etc, "systemd/system/multi-user.target.wants", unit));
}

async function findIn(folder: string, start: string): Promise<string> {
  const found = (await readdir(folder)).find((name) => name.startsWith(`${start}-`));
  if (found === undefined) throw new Error(`There is no ${start} in ${folder}`);
  return found;
}

async function makeFileSystem(root: string, into: string): Promise<void> {
  const make = `mkdir -p "$1/mnt/root" "$1/mnt/into"
    mount --bind "$2" "$1/mnt/root"
    mount --bind "$3" "$1/mnt/into"
    truncate -s 16G "$3/disk.ext4"
    chroot "$1" mke2fs -q -t ext4 -E lazy_itable_init=1,lazy_journal_init=1 -d /mnt/root /mnt/into/disk.ext4`;
  await inMountNamespace(make, [await buildQemuImage(), root, into]);
}

async function inMountNamespace(script: string, args: readonly string[]): Promise<void> {
  const argv = ["--mount", "--propagation", "private", "sh", "-ec", script, "sh", ...args];
  const { failed, all } = await execa("unshare", argv, { stdin: "ignore", all: true, reject: false });
  if (failed)
    throw new Error(`Unable to make the disk of a virtual machine:\n${all?.split("\n").slice(-20).join("\n")}`);
}
