import { describe, expect, test } from "vitest";
import { settingsSchema } from "../../src/config/settings.ts";
import { Interrupted } from "../../src/host/errors.ts";
import type { Host } from "../../src/host/host.ts";
import type { MemoryHost } from "../memory-host.ts";
import { installSteps } from "../../src/install/install-steps.ts";
import { applySteps, planSteps, type Recorder } from "../../src/install/run-steps.ts";
import type { Step } from "../../src/install/step.ts";
import { POOL, POOL_MOUNT_UNIT } from "../../src/paths.ts";
import { SUBVOLUMES } from "../../src/pool/layout.ts";
import type { PoolRequest } from "../../src/pool/plan-pool.ts";
import { debianHost } from "../debian-host.ts";
import { diesAt } from "../dies-at.ts";
import { interruptedAt } from "../interrupted-at.ts";

const unrecorded: Recorder = (_operation, _target, _details, change) => change();
const say = () => {};

/** All steps but `audit`, whose database is a real one. */
function stepsFor(pool: PoolRequest): Step[] {
  return installSteps(settingsSchema.parse({}), pool).filter(({ id }) => id !== "audit");
}

function run(host: Host, pool: PoolRequest) {
  return applySteps(stepsFor(pool), host, say, unrecorded);
}

const KINDS: readonly (readonly [string, () => MemoryHost, PoolRequest])[] = [
  ["a BTRFS host", () => debianHost({ root: "btrfs" }), {}],
  ["a pool in a file", () => debianHost({ root: "ext4" }), { sizeBytes: 2 ** 31 }],
  [
    "a pool on a disk",
    () => debianHost({ root: "ext4", files: { "/dev/sdb": "" } }),
    { device: "/dev/sdb", confirmFormat: "/dev/sdb" },
  ],
];

test("the twelve steps of the specification, in its order, under their permanent names", () => {
  expect(installSteps(settingsSchema.parse({}), {}).map(({ id }) => id)).toEqual([
    "environment",
    "subvolumes",
    "openvswitch",
    "netmaker",
    "templates",
    "proxmox",
    "audit",
    "sockets",
    "plugins",
    "program",
    "introspection",
    "installed",
  ]);
});

describe.each(KINDS)("on %s", (_, fresh, pool) => {
  test("a fresh machine becomes a node, and a second run changes nothing", async () => {
    const host = fresh();
    const outcomes = await run(host, pool);
    expect(outcomes.map(({ outcome }) => outcome)).toEqual(
      outcomes.map(({ id }) => (["openvswitch", "netmaker", "proxmox"].includes(id) ? "later" : "changed")),
    );
    host.forget();
    const again = await planSteps(stepsFor(pool), host);
    expect(again.filter(({ finding }) => !["ok", "later"].includes(finding.state))).toEqual([]);
    expect(host.changes).toEqual([]);
    expect((await run(host, pool)).some(({ outcome }) => outcome === "changed")).toBe(false);
    expect(host.changes).toEqual([]);
  });

  test("a second run without the pool's options finds the pool it made", async () => {
    const host = fresh();
    await run(host, pool);
    host.forget();
    await run(host, {});
    expect(host.changes).toEqual([]);
  });

  test("looking changes nothing on a fresh machine", async () => {
    const host = fresh();
    const plan = await planSteps(stepsFor(pool), host);
    expect(host.changes).toEqual([]);
    expect(plan.map(({ step, finding }) => [step.id, finding.state])).toEqual(
      plan.map(({ step }) => [step.id, ["openvswitch", "netmaker", "proxmox"].includes(step.id) ? "later" : "change"]),
    );
  });

  test("cut off before any of its changes, it is finished by the next run", { timeout: 60_000 }, async () => {
    const whole = fresh();
    await run(whole, pool);
    for (let cut = 0; cut < whole.changes.length; cut++) {
      const host = fresh();
      const where = whole.changes[cut];
      await expect(run(diesAt(host, cut), pool), `cut at ${where}`).rejects.toThrow("killed");
      becomeAnotherProcess(host);
      await run(host, pool);
      expect(paths(host), `cut at ${where}`).toEqual(paths(whole));
      const plan = await planSteps(stepsFor(pool), host);
      expect(
        plan.filter(({ finding }) => !["ok", "later"].includes(finding.state)),
        `cut at ${where}`,
      ).toEqual([]);
    }
  });
});

test(
  "interrupted before any of its commands, it says so, and is finished by the next run",
  { timeout: 60_000 },
  async () => {
    const pool = { sizeBytes: 2 ** 31 };
    const whole = debianHost({ root: "ext4" });
    await run(whole, pool);
    for (let cut = 0, done = false; !done; cut++) {
      const host = debianHost({ root: "ext4" });
      done = await run(interruptedAt(host, cut), pool).then(
        () => true,
        (error: unknown) => {
          expect(error, `cut at ${cut}`).toBeInstanceOf(Interrupted);
          return false;
        },
      );
      becomeAnotherProcess(host);
      await run(host, pool);
      expect(paths(host), `cut at ${cut}`).toEqual(paths(whole));
    }
  },
);

function becomeAnotherProcess(host: MemoryHost): void {
  const path = `/proc/${process.pid}/stat`;
  host.tree.put(path, { text: host.tree.get(path)?.text?.replace(" 4242 ", " 5353 ") ?? "" });
}

/**
 * Every path of a machine with its owner and mode. Versions of a template count as one: a build that is cut off when it
 * is whole, and not yet the current one, stays as a version beside the next.
 */
function paths(host: MemoryHost): string[] {
  const lasting = host.tree.below("/").filter((path) => !path.startsWith("/var/lib/opdbus-pve/build/"));
  const all = lasting.map((path) => {
    const { mode, uid, gid, inode, target } = host.tree.get(path) ?? {};
    const kind = target === undefined ? (inode === 256 ? "subvolume" : "") : `-> ${target}`;
    return `${mode?.toString(8)} ${uid}:${gid} ${path} ${kind}`.replaceAll(/\d{8}T\d{6}Z(\.\d+)?/g, "VERSION");
  });
  return [...new Set(all)];
}

test("the pool's subvolumes are closed to all but root, compressed, and have their folders", async () => {
  const host = debianHost();
  await run(host, {});
  for (const { name, folders } of SUBVOLUMES) {
    const path = `${POOL}/${name}`;
    expect(await host.stat(path)).toMatchObject({ inode: 256, mode: 0o700, uid: 0, gid: 0 });
    expect((await host.probe(["btrfs", "property", "get", path, "compression"])).stdout).toBe("compression=zstd\n");
    expect((await host.list(path)) ?? []).toEqual(expect.arrayContaining([...folders]));
  }
});

test("what drifted is named and mended", async () => {
  const host = debianHost();
  await run(host, {});
  const { properties: _, ...state } = host.tree.get(`${POOL}/@state`) ?? {};
  host.tree.put(`${POOL}/@state`, { ...state, mode: 0o777 });
  host.tree.drop(`${POOL}/@cache/queries`);
  host.tree.drop(`${POOL}/@plugins/ovs/flows.json`);
  host.tree.put(`${POOL}/sockets/api`, { mode: 0o770, gid: 987 });
  host.tree.drop("/etc/opdbus/templates.d");
  host.tree.drop("/etc/opdbus/opdbus.toml");
  host.tree.drop("/etc/systemd/system/multi-user.target.wants/opdbus.service");
  const plan = await planSteps(stepsFor({}), host);
  const changes = plan.flatMap(({ finding }) => (finding.state === "change" ? finding.changes : []));
  expect(changes).toEqual([
    "Create @cache/queries",
    "Turn on zstd compression for @state",
    "Set the mode of @state to 700",
    `Set ${POOL}/sockets/api to root:opdbus, 0750`,
    "Create @plugins/ovs/flows.json",
    "Create /etc/opdbus/templates.d",
    "Write /etc/opdbus/opdbus.toml",
    "Enable and start opdbus.service",
  ]);
  await run(host, {});
  expect((await planSteps(stepsFor({}), host)).every(({ finding }) => finding.state !== "change")).toBe(true);
});

test("of a pool that is not mounted, only the mount is planned: what it holds is not called missing", async () => {
  const host = debianHost({ root: "ext4" });
  await run(host, { sizeBytes: 2 ** 31 });
  const mounts = await host.readText("/proc/self/mountinfo");
  const within = host.tree.below(POOL).map((path) => [path, host.tree.get(path)] as const);
  host.tree.drop(POOL);
  host.tree.put(POOL, {});
  host.tree.put("/proc/self/mountinfo", { text: mounts?.replace(/^.*op-dbus.*\n/m, "") ?? "" });
  const states = async () => (await planSteps(stepsFor({}), host)).map(({ step, finding }) => [step.id, finding.state]);
  expect(await states()).toEqual([
    ["environment", "ok"],
    ["subvolumes", "change"],
    ["openvswitch", "later"],
    ["netmaker", "later"],
    ["templates", "waits"],
    ["proxmox", "later"],
    ["sockets", "waits"],
    ["plugins", "waits"],
    ["program", "ok"],
    ["introspection", "waits"],
    ["installed", "ok"],
  ]);
  const [, subvolumes] = await planSteps(stepsFor({}), host);
  expect(subvolumes?.finding).toEqual({ state: "change", changes: [`Mount the pool at ${POOL}`] });
  const templates = stepsFor({}).filter(({ id }) => id === "templates");
  await expect(applySteps(templates, host, say, unrecorded)).rejects.toThrow("it is not mounted");
  for (const [path, entry] of within.slice(1)) host.tree.put(path, entry ?? {});
  host.tree.put("/proc/self/mountinfo", { text: mounts ?? "" });
  expect((await states()).filter(([, state]) => state === "waits")).toEqual([]);
});

test("what was cut off and could not be cleared away is named, and removed by the installation", async () => {
  const host = debianHost();
  await run(host, {});
  const left = [`${POOL}/@containers/.gone-77-5-web-01`, `${POOL}/@templates/debian-base/.new-77-5-x`];
  for (const path of left) host.tree.put(`${path}/rootfs`, { inode: 256 });
  host.tree.put(`${POOL}/@containers/.new-${process.pid}-4242-alive`, {});
  const [, subvolumes] = await planSteps(stepsFor({}), host);
  const changes = left.map((path) => `Remove ${path}, which a process that is no more had begun`);
  expect(subvolumes?.finding).toEqual({ state: "change", changes });
  host.script("btrfs subvolume delete", { exitCode: 1, stderr: "ERROR: Device or resource busy" });
  await expect(run(host, {})).rejects.toThrow("Device or resource busy");
  host.script("btrfs subvolume delete", ({ argv, tree }) => tree.drop(argv.at(-1) ?? ""));
  await run(host, {});
  expect(left.map((path) => host.tree.get(path))).toEqual([undefined, undefined]);
});

describe("the program", () => {
  const finding = async (host: MemoryHost) =>
    (await planSteps(stepsFor({}), host)).find(({ step }) => step.id === "program")?.finding;

  test("is the package's, and no other", async () => {
    const host = debianHost({ commands: { "dpkg-query --listfiles": "/.\n/usr/lib/opdbus-pve/package.json\n" } });
    expect(await finding(host)).toMatchObject({
      state: "blocked",
      reason: expect.stringMatching(/^this program runs from \/.*, and a node runs the one of the Debian package/),
      hint: "apt install ./opdbus-pve_*.deb && /usr/bin/opdbus-pve install",
    });
  });

  test("is as the package brought it; documentation may be left out by the host", async () => {
    const host = debianHost();
    const verify = (stdout: string) => host.script("dpkg --verify", { exitCode: 1, stdout });
    verify("missing     /usr/share/doc/opdbus-pve/changelog.gz\n??5?????? c /usr/share/man/man1/op-dbus.1.gz\n");
    expect(await finding(host)).toMatchObject({ state: "change" });
    verify("??5??????   /usr/lib/opdbus-pve/lib/main.js\nmissing     /usr/share/lxc/templates/lxc-op-dbus\n");
    expect(await finding(host)).toEqual({
      state: "blocked",
      reason: "not as the package brought it: /usr/lib/opdbus-pve/lib/main.js, /usr/share/lxc/templates/lxc-op-dbus",
      hint: "apt install --reinstall ./opdbus-pve_*.deb",
    });
  });
});

test("a pool that would not come back at the next boot is a change, and is mended", async () => {
  const host = debianHost({ root: "ext4" });
  const pool = { sizeBytes: 2 ** 31 };
  await run(host, pool);
  await host.run(["systemctl", "disable", "--quiet", POOL_MOUNT_UNIT]);
  const first = (await planSteps(stepsFor(pool), host)).find(({ finding }) => finding.state === "change");
  expect(first?.finding).toEqual({
    state: "change",
    changes: [`Mount the pool at each boot again (${POOL_MOUNT_UNIT})`],
  });
  await run(host, pool);
  expect((await host.probe(["systemctl", "is-enabled", POOL_MOUNT_UNIT])).stdout).toBe("enabled\n");
});

test("what an admin wrote into a plugin folder is kept", async () => {
  const host = debianHost();
  await run(host, {});
  const path = `${POOL}/@plugins/ovs/flows.json`;
  host.tree.put(path, { text: "mine" });
  await run(host, {});
  expect(await host.readText(path)).toBe("mine");
});

test("a folder in the place of a subvolume is left alone and told", async () => {
  const host = debianHost();
  await run(host, {});
  for (const path of [`${POOL}/@state`, `${POOL}/@plugins/lxc`]) {
    host.tree.drop(path);
    host.tree.put(`${path}/precious`, { text: "" });
  }
  const plan = await planSteps(stepsFor({}), host);
  expect(plan.flatMap(({ finding }) => (finding.state === "blocked" ? [finding.reason] : []))).toEqual([
    `${POOL}/@state exists and is no subvolume`,
    `${POOL}/@plugins/lxc exists and is no subvolume`,
  ]);
});

test("the environment names every missing package once", async () => {
  const host = debianHost();
  for (const command of ["btrfs", "mkfs.btrfs", "lxc-start", "setpriv", "flock"]) host.tree.drop(`/usr/bin/${command}`);
  const [environment] = await planSteps(stepsFor({}), host);
  expect(environment?.finding).toEqual({
    state: "blocked",
    reason: "these Debian packages are missing: btrfs-progs, lxc, util-linux",
    hint: "apt-get install --no-install-recommends btrfs-progs lxc util-linux",
  });
});

test.each([
  ["no systemd", { drop: "/run/systemd/system" }, /systemd does not run this host/],
  ["no BTRFS in the kernel", { put: "/proc/filesystems" }, /this kernel has no BTRFS/],
])("the environment refuses %s", async (_, { drop, put }: { drop?: string; put?: string }, reason) => {
  const host = debianHost();
  if (drop) host.tree.drop(drop);
  if (put) host.tree.put(put, { text: "\text4\n" });
  const [environment] = await planSteps(stepsFor({}), host);
  expect(environment?.finding).toMatchObject({ state: "blocked", reason: expect.stringMatching(reason) });
});

test("the environment refuses a host whose state cannot be written, before anything is changed", async () => {
  const host = debianHost();
  const mounts = host.tree.get("/proc/self/mountinfo")?.text ?? "";
  host.tree.put("/proc/self/mountinfo", {
    text: `${mounts}99 27 0:60 / /var ro,noatime shared:99 - ext4 /dev/sda2 ro\n`,
  });
  const [environment] = await planSteps(stepsFor({}), host);
  expect(environment?.finding).toEqual({
    state: "blocked",
    reason: "/var/lib/opdbus-pve cannot be written: the file system mounted at /var is read-only",
    hint: "mount -o remount,rw /var   # after a look at why: dmesg",
  });
});

test("a module that can be loaded is a kernel with BTRFS", async () => {
  const host = debianHost({ commands: { "modprobe --dry-run": "" }, files: { "/proc/filesystems": "\text4\n" } });
  expect((await planSteps(stepsFor({}), host))[0]?.finding.state).toBe("change");
});

test("a broken definition is told before anything is changed", async () => {
  const host = debianHost({ files: { "/etc/opdbus/templates.d/debian-base.toml": "nonsense = 1\n" } });
  const plan = await planSteps(stepsFor({}), host);
  expect(plan.find(({ step }) => step.id === "templates")?.finding).toMatchObject({
    state: "blocked",
    reason: expect.stringContaining("/etc/opdbus/templates.d/debian-base.toml"),
  });
  expect(host.changes).toEqual([]);
});

test("a newer version of the program is an upgrade, and the day of installation stays", async () => {
  const host = debianHost();
  const before = { version: "0.0.1", installed_at: "2026-01-01T00:00:00.000Z", upgraded_at: null };
  host.tree.put("/etc/opdbus/installed", { text: JSON.stringify(before) });
  const plan = await planSteps(stepsFor({}), host);
  expect(plan.at(-1)?.finding).toEqual({
    state: "change",
    changes: ["Record the change of version from 0.0.1 to dev"],
  });
  await run(host, {});
  expect(JSON.parse((await host.readText("/etc/opdbus/installed")) ?? "")).toEqual({
    version: "dev",
    installed_at: "2026-01-01T00:00:00.000Z",
    upgraded_at: expect.stringMatching(/^\d{4}-/),
  });
});
