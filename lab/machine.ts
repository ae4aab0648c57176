import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { execa } from "execa";
import { labCache } from "./paths.ts";

/** Where the kernel's cgroup hierarchies that a node needs a group in are mounted. */
export interface CgroupMounts {
  readonly cgroup2: string;
  /** systemd's own hierarchy of version 1, where the machine still has one. */
  readonly systemd?: string;
}

/** Reads the cgroup hierarchies from this process's mounts; undefined without a cgroup2 mount. */
export function findCgroupMounts(): CgroupMounts | undefined {
  let cgroup2: string | undefined;
  let systemd: string | undefined;
  for (const line of readFileSync("/proc/self/mountinfo", "utf8").split("\n")) {
    const [front = "", back = ""] = line.split(" - ");
    const path = front.split(" ")[4];
    const [type, , options = ""] = back.split(" ");
    if (type === "cgroup2") cgroup2 ??= path;
    if (type === "cgroup" && options.split(",").includes("name=systemd")) systemd ??= path;
  }
  if (cgroup2 === undefined) return undefined;
  return systemd === undefined ? { cgroup2 } : { cgroup2, systemd };
}

const neededCommands: ReadonlyMap<string, string> = new Map([
  ["mmdebstrap", "mmdebstrap"],
  ["slirp4netns", "slirp4netns"],
  ["losetup", "mount"],
  ["unshare", "util-linux"],
  ["nsenter", "util-linux"],
  ["setpriv", "util-linux"],
]);

/** What this machine lacks to run nodes, each a sentence; empty when it can run them. Changes nothing. */
export async function missingForLab(): Promise<string[]> {
  if (process.platform !== "linux") return ["Nodes need Linux."];
  if (process.getuid?.() !== 0) return ["Nodes need root: namespaces, mounts and loop devices are made."];

  const missing: string[] = [];
  for (const [command, debianPackage] of neededCommands) {
    if (!isOnPath(command)) missing.push(`The command ${command} is missing: apt-get install ${debianPackage}`);
  }
  for (const [device, meaning] of [
    ["/dev/loop-control", "loop devices (modprobe loop)"],
    ["/dev/net/tun", "network for a node (modprobe tun)"],
  ] as const) {
    if (!existsSync(device)) missing.push(`There is no ${device}, which is needed for ${meaning}.`);
  }
  const btrfs = readFileSync("/proc/filesystems", "utf8").includes("\tbtrfs\n");
  if (!btrfs && (await fails("modprobe", ["btrfs"]))) missing.push("This kernel has no btrfs.");
  const cgroups = findCgroupMounts();
  if (cgroups === undefined) {
    missing.push("There is no cgroup2 mount (mount -t cgroup2 cgroup2 /sys/fs/cgroup).");
  } else if (!isWritable(cgroups.cgroup2)) {
    missing.push(`${cgroups.cgroup2} is read-only, so a node can get no cgroup of its own.`);
  }
  if (confinesLxc()) {
    missing.push(
      "AppArmor confines /usr/bin/lxc-start on this machine, and so in a node: apparmor_parser -R /etc/apparmor.d/usr.bin.lxc-start (it is back after the next boot).",
    );
  }
  // The trial would fail for these very reasons, so it is made only when all is there.
  return missing.length > 0 ? missing : tryNamespaces();
}

// Profiles are the kernel's, for all its mount namespaces; Debian's package lxc brings this one.
function confinesLxc(): boolean {
  const profiles = "/sys/kernel/security/apparmor/profiles";
  return existsSync(profiles) && /^\/usr\/bin\/lxc-start /m.test(readFileSync(profiles, "utf8"));
}

const VM_MEMORY = 3 * 2 ** 30;

/** What this machine lacks to run a virtual machine, beyond what nodes need. */
export function missingForVm(): string[] {
  const available = 1024 * Number(/^MemAvailable: +(\d+)/m.exec(readFileSync("/proc/meminfo", "utf8"))?.[1] ?? 0);
  if (available >= VM_MEMORY) return [];
  const [has, needs] = [available, VM_MEMORY].map((bytes) => `${(bytes / 2 ** 30).toFixed(1)} GiB`);
  return [`A virtual machine needs ${needs} of free memory, and there are ${has}.`];
}

async function tryNamespaces(): Promise<string[]> {
  await mkdir(labCache, { recursive: true });
  const trial = await mkdtemp(join(labCache, "trial-"));
  try {
    for (const name of ["lower", "upper", "work", "merged"]) await mkdir(join(trial, name));
    const inNamespaces = [
      "--mount",
      "--pid",
      "--fork",
      "--uts",
      "--ipc",
      "--net",
      "--cgroup",
      "--propagation",
      "private",
    ];
    if (await fails("unshare", [...inNamespaces, "true"])) {
      return ["This machine does not let root make namespaces (unshare --mount --pid --net --cgroup)."];
    }
    const overlay = ["mount", "-t", "overlay", "overlay", "-o", "lowerdir=lower,upperdir=upper,workdir=work", "merged"];
    if (await fails("unshare", ["--mount", "--propagation", "private", ...overlay], trial)) {
      return [
        `No overlay can be mounted on the file system of ${labCache}: set OPDBUS_LAB_CACHE to a directory on ext4, xfs or btrfs.`,
      ];
    }
    return [];
  } finally {
    await rm(trial, { recursive: true, force: true });
  }
}

async function fails(command: string, argv: readonly string[], cwd?: string): Promise<boolean> {
  const result = await execa(command, argv, { stdio: "ignore", reject: false, ...(cwd && { cwd }) });
  return result.failed;
}

function isOnPath(command: string): boolean {
  const directories = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", "/sbin"];
  return directories.some((directory) => existsSync(join(directory, command)));
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
