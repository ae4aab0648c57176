import { readFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { posix } from "node:path";
import { expect, onTestFinished } from "vitest";
import type { Argv } from "../src/host/host.ts";
import { type Behaviour, memoryHost, type MemoryHost } from "./memory-host.ts";
import type { Entry, Tree } from "./memory-tree.ts";
import { TREE } from "../src/tree.ts";
import { readFixture } from "./fixture.ts";

interface DebianOptions {
  /** What the root file system is; a BTRFS host needs no pool of its own. */
  readonly root?: "btrfs" | "ext4";
  /** Added to what a fresh Debian has, or in place of it. */
  readonly files?: Readonly<Record<string, string | Entry>>;
  readonly commands?: Readonly<Record<string, Behaviour>>;
  readonly space?: { total: number; free: number };
  readonly network?: Readonly<Record<string, string>>;
}

/**
 * A fresh Debian in memory with the packages that the installer wants, and
 * with commands that do to its files what the real ones would. The test fails
 * when a command was used that nothing stands for.
 */
export function debianHost({
  root = "btrfs",
  files = {},
  commands = {},
  space,
  network = {},
}: DebianOptions = {}): MemoryHost {
  const host = memoryHost({
    files: { ...freshFiles(root), ...files },
    commands: { ...BTRFS, ...SYSTEMD, ...USERS, ...DISKS, ...TEMPLATE_BUILD, ...LXC, ...PERL, ...OTHERS, ...commands },
    ...(space && { space }),
    network,
  });
  onTestFinished(() => expect(host.unscripted, "commands that nothing stands for").toEqual([]));
  return host;
}

/** What /proc/PID/stat says of a process that was started at this tick. */
export function processStat(pid: number, start: number): string {
  return `${pid} (node (1) x) S 1 ${pid} ${pid} 0 -1 4194560 1 0 0 0 1 1 0 0 20 0 11 0 ${start} 1 1\n`;
}

function freshFiles(root: "btrfs" | "ext4"): Record<string, string | Entry> {
  const commands =
    "btrfs mkfs.btrfs lxc-start mmdebstrap newuidmap usermod chattr ip flock setpriv tar find perl".split(" ");
  return {
    ...Object.fromEntries(commands.map((name) => [`/usr/bin/${name}`, ""])),
    "/dev/loop-control": "",
    "/etc/group": "root:x:0:\nusers:x:100:\n",
    "/etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n',
    "/etc/subgid": "",
    "/etc/subuid": "",
    "/etc/systemd/system/multi-user.target.wants/": "",
    "/proc/filesystems": "nodev\tproc\n\text4\n\tbtrfs\n",
    "/proc/net/unix": readFixture("proc/net-unix-empty.txt"),
    "/proc/self/mountinfo": readFixture(`proc/mountinfo-root-${root}.txt`),
    "/proc/sys/kernel/osrelease": "6.12.0-amd64\n",
    [`/proc/${process.pid}/stat`]: processStat(process.pid, 4242),
    "/run/systemd/system/": "",
    "/sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "",
    "/var/lib/dpkg/status": "installed",
    "/var/lib/lxc/": "",
    "/var/tmp/": "",
    [`${TREE}/opdbus.toml`]: "# settings\n",
    [`${TREE}/templates/debian-base.toml`]: readFileSync(`${TREE}/templates/debian-base.toml`, "utf8"),
  };
}

const BTRFS: Record<string, Behaviour> = {
  "btrfs subvolume create": ({ argv, tree }) => {
    const path = last(argv);
    if (tree.get(path)) return failed(`ERROR: target path already exists: ${path}`);
    if (!tree.get(posix.dirname(path))) return failed(`ERROR: cannot access ${posix.dirname(path)}`);
    return tree.put(path, { inode: 256 });
  },
  "btrfs subvolume snapshot": ({ argv, tree }) => {
    const [from = "", to = ""] = argv.slice(-2);
    if (tree.get(from)?.inode !== 256) return failed(`ERROR: not a subvolume: ${from}`);
    if (tree.get(to)) return failed(`ERROR: target path already exists: ${to}`);
    copyTree(tree, from, to);
    return tree.put(to, { ...tree.get(from), properties: { ro: String(argv.includes("-r")) } });
  },
  "btrfs subvolume delete": ({ argv, tree }) => {
    const path = last(argv);
    if (tree.get(path)?.inode !== 256) return failed(`ERROR: not a subvolume: ${path}`);
    if (subvolumesIn(tree, path).length > 0) return failed("ERROR: Could not destroy subvolume: Directory not empty");
    return tree.drop(path);
  },
  "btrfs subvolume list": ({ argv, tree }) =>
    subvolumesIn(tree, last(argv))
      .map((path) => `ID 300 gen 1 top level 299 path ${path}\n`)
      .join(""),
  // what goes through the pipe is where it comes from
  "btrfs send": ({ argv, tree }) =>
    tree.get(last(argv))?.properties["ro"] === "true" ? last(argv) : failed(`ERROR: ${last(argv)} is not read-only`),
  "btrfs receive": ({ argv, options, tree }) => {
    const from = options.input ?? "";
    const to = `${last(argv)}/${posix.basename(from)}`;
    copyTree(tree, from, to);
    tree.put(to, { inode: 256, properties: { ro: "true" } });
  },
  "btrfs filesystem sync": "",
  // opens or removes subvolumes, or looks for devices, of which this tree has none
  find: ({ argv, tree }) => {
    const path = argv[1] ?? "";
    if (argv.includes("-depth")) for (const each of subvolumesIn(tree, path).toReversed()) tree.drop(each);
    if (!argv.includes("-printf")) return "";
    const named = argv.flatMap((word, index) => (argv[index - 1] === "-path" ? [word] : []));
    const found = named.filter((each) => tree.get(each)?.text);
    return found.map((each) => `f ${each.slice(path.length + 1)}\0`).join("");
  },
  rmdir: ({ argv, tree }) => tree.drop(last(argv)),
  "btrfs property get": ({ argv, tree }) => {
    const [path = "", name = ""] = argv.slice(3);
    const value = tree.get(path)?.properties[name] ?? (name === "ro" ? "false" : undefined);
    return value === undefined ? "" : `${name}=${value}\n`;
  },
  "btrfs property set": ({ argv, tree }) => {
    const [path = "", name = "", value = ""] = argv.slice(3).filter((word) => word !== "-f");
    const found = tree.get(path);
    if (!found) return failed(`ERROR: cannot access ${path}`);
    return tree.put(path, { ...found, properties: { ...found.properties, [name]: value } });
  },
  "compsize --bytes": readFixture("btrfs/compsize-mixed.txt"),
};

const WANTS = "/etc/systemd/system/multi-user.target.wants";
const ACTIVE = "/run/active-units";

const SYSTEMD: Record<string, Behaviour> = {
  "systemctl daemon-reload": "",
  "systemctl enable": ({ argv, tree }) => {
    tree.put(`${WANTS}/${last(argv)}`, { target: `/etc/systemd/system/${last(argv)}` });
    if (argv.includes("--now")) tree.put(`${ACTIVE}/${last(argv)}`, { text: "" });
  },
  "systemctl disable": ({ argv, tree }) => tree.drop(`${WANTS}/${last(argv)}`),
  "systemctl restart": ({ argv, tree }) => tree.put(`${ACTIVE}/${last(argv)}`, { text: "" }),
  "systemctl is-enabled": ({ argv, tree }) =>
    tree.get(`${WANTS}/${last(argv)}`) ? "enabled\n" : { exitCode: 1, stdout: "disabled\n" },
  "systemctl is-active": ({ argv, tree }) =>
    tree.get(`${ACTIVE}/${last(argv)}`) ? "active\n" : { exitCode: 3, stdout: "inactive\n" },
  "systemctl is-failed": { exitCode: 1, stdout: "inactive\n" },
  "systemctl show": "Id=opdbus.service\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\n",
  "systemctl start": ({ argv, tree }) => {
    const unit = last(argv);
    tree.put(`${ACTIVE}/${unit}`, { text: "" });
    if (unit.endsWith(".mount")) mountUnit(tree, unit);
    if (unit.startsWith("lxc@")) setRunning(tree, unit.slice(4, -".service".length), true);
  },
  "systemctl stop": ({ argv, tree }) => {
    if (last(argv).endsWith(".mount")) unmountUnit(tree, last(argv));
    tree.drop(`${ACTIVE}/${last(argv)}`);
  },
};

/** Mounts what a unit says, over a folder that must be empty. */
function mountUnit(tree: Tree, unit: string): void {
  const text = tree.get(`/etc/systemd/system/${unit}`)?.text ?? "";
  const [what = "", where = ""] = ["What", "Where"].map((key) => new RegExp(`^${key}=(.+)$`, "m").exec(text)?.[1]);
  expect(tree.below(where), "a mount point is empty").toEqual([where]);
  tree.put(where, { inode: 256 });
  const source = /^Options=.*loop/m.test(text) ? "/dev/loop0" : what;
  const mounts = tree.get("/proc/self/mountinfo")?.text ?? "";
  const line = `99 27 0:60 / ${where} rw,noatime shared:99 - btrfs ${source} rw,space_cache=v2,subvol=/\n`;
  tree.put("/proc/self/mountinfo", { text: mounts + line });
}

/** Unmounts what a unit mounted; what was in it stays in its file or on its device, out of sight. */
function unmountUnit(tree: Tree, unit: string): void {
  tree.drop(`${ACTIVE}/${unit}`);
  const text = tree.get(`/etc/systemd/system/${unit}`)?.text ?? "";
  const where = /^Where=(.+)$/m.exec(text)?.[1] ?? "";
  const mounts = tree.get("/proc/self/mountinfo")?.text ?? "";
  if (!mounts.includes(` ${where} `)) return;
  tree.drop(where);
  tree.put(where, {});
  tree.put("/proc/self/mountinfo", { text: mounts.replace(new RegExp(`^.* ${where} .*\n`, "m"), "") });
}

const USERS: Record<string, Behaviour> = {
  getent: ({ argv, tree }) => {
    const line = new RegExp(`^${last(argv)}:.*$`, "m").exec(tree.get("/etc/group")?.text ?? "")?.[0];
    return line === undefined ? 2 : `${line}\n`;
  },
  "systemd-sysusers opdbus.conf": ({ tree }) => append(tree, "/etc/group", "opdbus:x:987:\n"),
  usermod: ({ argv, tree }) => {
    for (const [option, file] of [
      ["--add-subuids", "/etc/subuid"],
      ["--add-subgids", "/etc/subgid"],
    ] as const) {
      const [first = 0, end = 0] = (argv[argv.indexOf(option) + 1] ?? "").split("-").map(Number);
      append(tree, file, `${last(argv)}:${first}:${end - first + 1}\n`);
    }
  },
  // takes a line out of files
  "perl -e use Fcntl qw(:DEFAULT :seek);": ({ argv, tree }) => {
    const [line = "", ...files] = argv.slice(3);
    for (const file of files) tree.put(file, { text: (tree.get(file)?.text ?? "").replace(`${line}\n`, "") });
  },
};

// the text of a device or image in this tree is what is on it: nothing, or a file system's name
const DISKS: Record<string, Behaviour> = {
  chattr: "",
  "truncate --size": "",
  "mkfs.btrfs": ({ argv, tree }) => tree.put(last(argv), { ...tree.get(last(argv)), text: "btrfs" }),
  "blkid --probe --output export": ({ argv, tree }) => {
    const on = tree.get(last(argv))?.text;
    return on ? `DEVNAME=${last(argv)}\n${on === "gpt" ? "PTTYPE" : "TYPE"}=${on}\n` : 2;
  },
  "blkid --probe --match-tag UUID": "1b9c0a54-0001-4e33-9d5c-8d4f1c2a7e01\n",
  "lsblk --json": ({ argv, tree }) =>
    tree.get(last(argv))
      ? JSON.stringify({ blockdevices: [{ path: last(argv), type: "disk" }] })
      : { exitCode: 32, stderr: `lsblk: ${last(argv)}: not a block device` },
  "modprobe --dry-run": 1,
};

// a build that works: packages and staged files make a small tree
const TEMPLATE_BUILD: Record<string, Behaviour> = {
  "unshare --map-users=auto --map-groups=auto --setuid=0 --setgid=0 -- cat":
    "         0     100000      65536\n         0     100000      65536\n",
  "apt-get indextargets": readFixture("apt/indextargets-debian-13.txt"),
  "tar --create": ({ argv, tree }) => {
    const folder = argv[argv.indexOf("--directory") + 1] ?? "";
    return contentOf(tree, folder);
  },
  // a command that is confined to a tree works on that
  "setpriv --pdeathsig KILL -- unshare --mount -- sh": ({ argv, run }) => {
    const [rootfs = "", , , , , ...inner] = argv.slice(argv.indexOf("-c") + 2);
    return run(inner.map((word) => word.replace("/tree", rootfs)) as unknown as Argv);
  },
  setpriv: { stdout: "a tar stream", stderr: readFixture("mmdebstrap/progress.txt") },
  // looks at ids, or shifts them, of which this tree has none in its content
  "setpriv --pdeathsig KILL -- perl": "",
  "tar --extract": ({ argv, tree }) =>
    tree.put(`${argv[argv.indexOf("--directory") + 1]}/etc/debian_version`, { text: "13.2\n" }),
  env: ({ argv: [, folder = ""], tree }) => contentOf(tree, folder.slice("--chdir=".length)),
  "sha256sum --binary": ({ options }) => `${sha256(options.input ?? "")} *-\n`,
  "du --summarize": "104857600\t.\n",
  "dpkg-query --show": "systemd 257.9-1\nssh 1:10.0\n",
};

const LXC: Record<string, Behaviour> = {
  "lxc-info --name": ({ argv, tree }) =>
    tree.get("/proc/net/unix")?.text?.includes(`@/var/lib/lxc/${argv[2]}/command`) ? "RUNNING\n" : "STOPPED\n",
  "lxc-stop --name": ({ argv, tree }) => setRunning(tree, argv[2] ?? "", false),
};

/** Puts the name of a container's command socket into the kernel's list, whoever has it, or takes it out. */
export function listSocket(tree: Tree, name: string, listed: boolean): void {
  const line = `0000000000000000: 00000002 00000000 00010000 0001 01 31733 @/var/lib/lxc/${name}/command\n`;
  const before = (tree.get("/proc/net/unix")?.text ?? "").replace(line, "");
  tree.put("/proc/net/unix", { text: listed ? before + line : before });
}

/** Lets a container run: its monitor's process, and the name of its socket in the kernel's list. */
export function setRunning(tree: Tree, name: string, running: boolean): void {
  listSocket(tree, name, running);
  const monitor = `/proc/${4000 + Buffer.from(name).reduce((sum, byte) => sum + byte, 0)}`;
  tree.drop(monitor);
  if (!running) return;
  tree.put(`${monitor}/cmdline`, { text: `/usr/bin/lxc-start\0-F\0-n\0${name}\0` });
  tree.put(`${monitor}/status`, { text: "Name:\tlxc-start\nUid:\t0\t0\t0\t0\n" });
  tree.put(`${monitor}/exe`, { target: "/usr/bin/lxc-start" });
}

/** What stands for the scripts of src/containers that make calls which no command makes. */
const PERL: Record<string, Behaviour> = {
  "perl -e": ({ argv, tree }) => {
    const [what = "", ...rest] = argv.slice(4);
    return what === "look" || what === "remove" ? inTree(tree, what, rest) : move(tree, what, rest);
  },
};

/** identity.ts: looks for paths below a root, or takes them out; the machine id is emptied. */
function inTree(tree: Tree, what: "look" | "remove", [machineId = "", root = "", ...paths]: readonly string[]): string {
  const found = paths.flatMap((path) =>
    tree
      .below(root)
      .filter((each) => posix.matchesGlob(each, `${root}${path}`))
      .map((each) => ({ path, each })),
  );
  for (const { path, each } of what === "remove" ? found : []) {
    tree.drop(each);
    if (path === machineId) tree.put(each, { text: "" });
  }
  return found.map(({ path }) => `${path}\n`).join("");
}

/** move-stopped.ts: renameat2(2), without replacing what is there (1), or exchanging it (2). */
function move(tree: Tree, how: string, [from = "", to = "", socket = ""]: readonly string[]) {
  if (tree.get("/proc/net/unix")?.text?.includes(`@${socket}\n`)) return { exitCode: 98, stderr: "in use" };
  if (how === "1" && tree.get(to)) return { exitCode: 17, stderr: `${to}: File exists\n` };
  if (!tree.get(from) || (how === "2" && !tree.get(to))) return { exitCode: 2, stderr: "No such file or directory\n" };
  tree.move(to, `${to}.between`);
  tree.move(from, to);
  return tree.move(`${to}.between`, from);
}

const PACKAGE_STATUS = "/var/lib/dpkg/status";
const IN_A_UNIT = "systemd-run --quiet --collect --wait --unit=opdbus-pve-removal --service-type=exec --";

const OTHERS: Record<string, Behaviour> = {
  "dpkg --verify": "",
  [`${IN_A_UNIT} dpkg --remove`]: ({ tree }) => tree.put(PACKAGE_STATUS, { text: "config-files" }),
  // as its script does
  [`${IN_A_UNIT} dpkg --purge`]: ({ tree }) => {
    tree.drop(PACKAGE_STATUS);
    tree.drop(`${WANTS}/opdbus.service`);
  },
  "dpkg-query --listfiles": ({ tree }) => (tree.get(PACKAGE_STATUS) ? `/.\n${TREE}\n${TREE}/package.json\n` : 1),
  "dpkg-query --show --showformat=${db:Status-Status}": ({ tree }) => tree.get(PACKAGE_STATUS)?.text ?? 1,
  "cat --": ({ argv, tree }) => tree.get(last(argv))?.text ?? "",
  "head --bytes=6 --": ({ argv, tree }) => (tree.get(last(argv))?.text ?? "").slice(0, 6),
  "sync --": "",
  "sync --file-system": "",
  "cp --archive --link": ({ argv, tree }) => {
    const [to = "", ...from] = argv.slice(4).toReversed();
    for (const each of from) copyTree(tree, each, `${to}/${posix.basename(each)}`);
  },
  "ip -json": "[]",
};

function copyTree(tree: Tree, from: string, to: string): void {
  for (const path of tree.below(from)) {
    const { inode: _, ...entry } = tree.get(path) ?? { inode: 0 };
    tree.put(`${to}${path.slice(from.length)}`, entry);
  }
}

function contentOf(tree: Tree, folder: string): string {
  return tree
    .below(folder)
    .map((path) => `${path.slice(folder.length)} ${tree.get(path)?.text ?? ""}\n`)
    .join("");
}

/** The subvolumes below a path, each before those inside it. */
function subvolumesIn(tree: Tree, path: string): string[] {
  return tree.below(path).filter((each) => each !== path && tree.get(each)?.inode === 256);
}

function append(tree: Tree, path: string, text: string): void {
  tree.put(path, { ...tree.get(path), text: `${tree.get(path)?.text ?? ""}${text}` });
}

function failed(stderr: string): { exitCode: number; stderr: string } {
  return { exitCode: 1, stderr: `${stderr}\n` };
}

function last(argv: Argv): string {
  return argv.at(-1) ?? "";
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
