import { ID_RANGE_SIZE, LAST_ID } from "../../config/limits.ts";
import { findIdRange, mappedIds, nextFreeId, overlap } from "../../containers/id-range.ts";
import { isLinked, LXC_PATH } from "../../containers/lxc-link.ts";
import { shellText } from "../../host/command-failed.ts";
import type { Host, HostView } from "../../host/host.ts";
import { HOST_STATE, RUNTIME, SETTINGS } from "../../paths.ts";
import { listMounts, mountHolding } from "../../host/mounts.ts";
import { noteOnReceipt, readReceipt } from "../receipt.ts";
import { changesNeeded, type Finding, OK, PART, type Removal, type Step } from "../step.ts";

const DEPLOYMENT_TYPE = `${SETTINGS}/deployment-type`;

/** The commands that the node needs, and the Debian package that has each. */
const REQUIRED: readonly (readonly [command: string, debianPackage: string])[] = [
  ["btrfs", "btrfs-progs"],
  ["mkfs.btrfs", "btrfs-progs"],
  ["lxc-start", "lxc"],
  ["mmdebstrap", "mmdebstrap"],
  ["newuidmap", "uidmap"],
  ["usermod", "passwd"],
  ["chattr", "e2fsprogs"],
  ["ip", "iproute2"],
  ["flock", "util-linux"],
  ["setpriv", "util-linux"],
  ["tar", "tar"],
  ["find", "findutils"],
  ["perl", "perl-base"],
];

/** Step 1: what kind of host this is, and whether it has what all later steps need. */
export function environmentStep(): Step {
  return { id: "environment", title: "Detect the environment", notYet: [], check, apply, removal };
}

async function check(host: HostView): Promise<Finding> {
  const missing = await findMissing(host);
  if (missing) return missing;
  const range = await findIdRange(host);
  if (range === undefined && (await nextFreeId(host)) + ID_RANGE_SIZE - 1 > LAST_ID) {
    return {
      state: "blocked",
      reason: `there are no ${ID_RANGE_SIZE} ids above those in /etc/subuid and /etc/subgid`,
      hint: `edit /etc/subuid and /etc/subgid: make the last range smaller, or give root one that nobody else has`,
    };
  }
  return changesNeeded([
    ...((await host.readText(DEPLOYMENT_TYPE)) === "traditional\n"
      ? []
      : [`Write "traditional" to ${DEPLOYMENT_TYPE}`]),
    ...(range !== undefined
      ? []
      : [`Give root a range of ${ID_RANGE_SIZE} subordinate ids for containers (/etc/subuid, /etc/subgid)`]),
  ]);
}

async function findMissing(host: HostView): Promise<Finding | undefined> {
  if ((await host.stat("/run/systemd/system")) === undefined) {
    return {
      state: "blocked",
      reason: "systemd does not run this host",
      hint: "boot the host with systemd, then install",
    };
  }
  const packages = new Set<string>();
  // LXC starts nothing with a generated profile when the kernel has AppArmor and its parser is missing
  const apparmor = (await host.readText("/sys/module/apparmor/parameters/enabled"))?.trim() === "Y";
  if (apparmor && !(await commandExists(host, "apparmor_parser"))) packages.add("apparmor");
  for (const [command, debianPackage] of REQUIRED) {
    if (!(await commandExists(host, command))) packages.add(debianPackage);
  }
  if (packages.size > 0) {
    return {
      state: "blocked",
      reason: `these Debian packages are missing: ${[...packages].join(", ")}`,
      hint: `apt-get install --no-install-recommends ${[...packages].join(" ")}`,
    };
  }
  const readOnly = await findReadOnly(host);
  if (readOnly !== undefined) {
    return {
      state: "blocked",
      reason: `${readOnly.path} cannot be written: the file system mounted at ${readOnly.mountedAt} is read-only`,
      hint: `${shellText(["mount", "-o", "remount,rw", readOnly.mountedAt])}   # after a look at why: dmesg`,
    };
  }
  if (!(await kernelHasBtrfs(host))) {
    return {
      state: "blocked",
      reason: "this kernel has no BTRFS, neither built in nor as a module",
      hint: "boot a kernel with BTRFS, such as Debian's linux-image-amd64",
    };
  }
  return undefined;
}

/** Where the steps write; the pool is looked at by its own. */
const WRITTEN = [SETTINGS, "/etc/systemd/system", HOST_STATE, RUNTIME];

async function findReadOnly(host: HostView): Promise<{ path: string; mountedAt: string } | undefined> {
  const mounts = await listMounts(host);
  for (const path of WRITTEN) {
    const mount = mountHolding(mounts, path);
    if (mount?.options.includes("ro")) return { path, mountedAt: mount.path };
  }
  return undefined;
}

async function commandExists(host: HostView, command: string): Promise<boolean> {
  for (const folder of ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin", "/usr/local/sbin"]) {
    if ((await host.stat(`${folder}/${command}`)) !== undefined) return true;
  }
  return false;
}

async function kernelHasBtrfs(host: HostView): Promise<boolean> {
  const loaded = (await host.readText("/proc/filesystems")) ?? "";
  if (/^\s*btrfs$/m.test(loaded)) return true;
  return (await host.probe(["modprobe", "--dry-run", "--quiet", "btrfs"])).exitCode === 0;
}

async function apply(host: Host): Promise<void> {
  await host.makeDirectory(SETTINGS, { mode: 0o755 });
  await host.writeText(DEPLOYMENT_TYPE, "traditional\n");
  if (await findIdRange(host)) return;
  const start = await nextFreeId(host);
  await noteOnReceipt(host, { idRangeStart: start });
  const range = `${start}-${start + ID_RANGE_SIZE - 1}`;
  await host.run(["usermod", "--add-subuids", range, "--add-subgids", range, "root"]);
}

/** The range of ids, where it was us who gave it to root. */
const removal: Removal = {
  async check(host, degree, before) {
    if (degree !== "everything") return OK;
    const start = await ownRange(host);
    if (start === undefined) return OK;
    const user = await findUserOfRange(host, start, before.has(PART.containers));
    if (user !== undefined) return { ...OK, stays: [`root's subordinate ids from ${start} on, which ${user} uses`] };
    return changesNeeded([`Take the subordinate ids from ${start} on away from root (/etc/subuid, /etc/subgid)`]);
  },
  async apply(host) {
    const start = await ownRange(host);
    if (start === undefined) return;
    await host.run(["perl", "-e", TAKE_OUT_LINE, lineOf(start), ...ID_FILES], { timeoutMs: 30_000, shielded: true });
  },
};

// usermod(8) takes nothing from a user who has a process, as root always has. So by hand, under the lock that it
// and its like take before they change any such file: lckpwdf(3), which ends with the process.
const TAKE_OUT_LINE = String.raw`use Fcntl qw(:DEFAULT :seek); use IO::Handle;
  my ($line, @files) = @ARGV;
  sysopen(my $lock, "/etc/.pwd.lock", O_WRONLY | O_CREAT, 0600) or die "/etc/.pwd.lock: $!";
  fcntl($lock, F_SETLKW, my $all = pack("s s x4 q q l x4", F_WRLCK, SEEK_SET, 0, 0, 0)) or die "/etc/.pwd.lock: $!";
  for my $file (@files) {
    open(my $old, "<", $file) or die "$file: $!";
    my @kept = grep { $_ ne "$line\n" } <$old>;
    sysopen(my $new, "$file.opdbus", O_WRONLY | O_CREAT | O_TRUNC, (stat $old)[2] & 07777) or die "$file.opdbus: $!";
    print $new @kept and $new->flush and $new->sync and close($new) or die "$file.opdbus: $!";
    rename("$file.opdbus", $file) or die "$file: $!";
  }`;

const ID_FILES = ["/etc/subuid", "/etc/subgid"] as const;

function lineOf(start: number): string {
  return `root:${start}:${ID_RANGE_SIZE}`;
}

/** Where the range begins that was given to root, and of which something is left: in one of the files, when that was cut off. */
async function ownRange(host: HostView): Promise<number | undefined> {
  const { idRangeStart } = await readReceipt(host);
  if (idRangeStart === undefined) return undefined;
  const texts = await Promise.all(ID_FILES.map((file) => host.readText(file)));
  const isThere = texts.some((text) => text?.split("\n").includes(lineOf(idRangeStart)));
  return isThere ? idRangeStart : undefined;
}

/** Others that give root's subordinate ids to containers, where they keep those: each takes what /etc/subuid has. */
const OTHER_MANAGERS = {
  Incus: "/var/lib/incus/containers",
  LXD: "/var/lib/lxd/containers",
  "LXD's snap": "/var/snap/lxd/common/lxd/containers",
};

/** Containers of Proxmox VE that run with mapped ids, and the map of those that name none. */
const PVE_CONTAINERS = "/etc/pve/lxc";
const PVE_DEFAULT_MAP = "lxc.idmap: u 0 100000 65536";

/**
 * What maps some of these ids.
 * @param onlyForeign leaves out containers of ours
 */
async function findUserOfRange(host: HostView, start: number, onlyForeign: boolean): Promise<string | undefined> {
  const own = { start, size: ID_RANGE_SIZE };
  const files = ["/etc/lxc/default.conf"];
  for (const name of (await host.list(LXC_PATH)) ?? []) {
    if (!onlyForeign || !(await isLinked(host, name))) files.push(`${LXC_PATH}/${name}/config`);
  }
  files.push(...((await host.list(PVE_CONTAINERS)) ?? []).map((name) => `${PVE_CONTAINERS}/${name}`));
  for (const file of files) {
    const config = (await host.readText(file)) ?? "";
    const named = mappedIds(config);
    const mapped = named.length === 0 && /^unprivileged:\s*1$/m.test(config) ? mappedIds(PVE_DEFAULT_MAP) : named;
    if (mapped.some((ids) => overlap(ids, own))) return file;
  }
  for (const [manager, folder] of Object.entries(OTHER_MANAGERS)) {
    if (((await host.list(folder)) ?? []).length > 0) return manager;
  }
  return undefined;
}
