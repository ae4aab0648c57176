import { describe, expect, test } from "vitest";
import { settingsSchema } from "../../src/config/settings.ts";
import { createContainer, prepareCreate } from "../../src/containers/create.ts";
import { listContainers } from "../../src/containers/record.ts";
import { UserError } from "../../src/host/errors.ts";
import type { Host } from "../../src/host/host.ts";
import type { MemoryHost } from "../memory-host.ts";
import { installSteps } from "../../src/install/install-steps.ts";
import {
  applyRemovals,
  planRemovals,
  refuseBlockedRemoval,
  removalParts,
  removalRecorder,
  revealPool,
} from "../../src/install/removal.ts";
import { applySteps, type Recorder } from "../../src/install/run-steps.ts";
import type { Degree } from "../../src/install/step.ts";
import {
  HOST_STATE,
  IMAGE_GOING,
  POOL,
  POOL_IMAGE,
  POOL_MOUNT_UNIT,
  POOL_MOUNT_UNIT_FILE,
  SETTINGS,
} from "../../src/paths.ts";
import { requirePool } from "../../src/pool/find-pool.ts";
import type { PoolRequest } from "../../src/pool/plan-pool.ts";
import { debianHost } from "../debian-host.ts";
import { diesAt } from "../dies-at.ts";

const unrecorded: Recorder = (_operation, _target, _details, change) => change();
const say = () => {};
const steps = (pool: PoolRequest) => installSteps(settingsSchema.parse({}), pool).filter(({ id }) => id !== "audit");

async function installed(root: "btrfs" | "ext4", pool: PoolRequest, files = {}): Promise<MemoryHost> {
  const host = debianHost({ root, files });
  await applySteps(steps(pool), host, say, unrecorded);
  host.forget();
  return host;
}

const parts = async (host: Host) => removalParts(steps({}), await listContainers(host));
const remove = async (host: Host, degree: Degree) => applyRemovals(await parts(host), host, degree, say, unrecorded);
const plan = async (host: Host, degree: Degree) => planRemovals(await parts(host), host, degree);
/** What is left to do, as sentences. */
const left = async (host: Host, degree: Degree) =>
  (await plan(host, degree)).flatMap(({ finding }) => (finding.state === "change" ? finding.changes : []));

async function addContainer(host: MemoryHost, name: string): Promise<void> {
  const request = {
    template: "debian-base",
    network: "none",
    cores: 1,
    memoryMiB: 64,
    swapMiB: 0,
    sshKeys: [],
  } as const;
  await createContainer(host, name, await prepareCreate(host, { ...request, limits: "enforce" }));
}

const LOOP = { sizeBytes: 2 ** 31 };
const DEVICE = { device: "/dev/sdb", confirmFormat: "/dev/sdb" };
const KINDS = [
  ["a BTRFS host", () => installed("btrfs", {})],
  ["a pool in a file", () => installed("ext4", LOOP)],
  ["a pool on a disk", () => installed("ext4", DEVICE, { "/dev/sdb": "" })],
] as const;

/** What was there before the installation, and what any use of a host leaves. */
const paths = (host: MemoryHost) =>
  host.tree.below("/").filter((path) => !/^\/(run|proc|var\/lib\/dpkg|usr)\b/.test(path));

describe.each(KINDS)("on %s", (kind, fresh) => {
  test("the program alone: marker and package go, settings and pool stay", async () => {
    const host = await fresh();
    const before = paths(host);
    expect(await left(host, "program")).toEqual([
      "Remove /etc/opdbus/installed",
      "Remove the Debian package opdbus-pve",
    ]);
    expect(host.changes, "looking changes nothing").toEqual([]);
    await remove(host, "program");
    expect(before.filter((path) => !paths(host).includes(path))).toEqual(["/etc/opdbus/installed"]);
    expect(await left(host, "program")).toEqual([]);
  });

  test("program and settings: the pool stays", async () => {
    const host = await fresh();
    const before = paths(host);
    await remove(host, "settings");
    const gone = before.filter((path) => !paths(host).includes(path));
    expect(gone.every((path) => /^\/etc\/(opdbus|systemd\/.*\/opdbus\.service$)/.test(path))).toBe(true);
    expect(gone).toContain("/etc/opdbus/opdbus.toml");
    expect(host.commands.at(-1)).toMatch(/ dpkg --purge opdbus-pve$/);
  });

  test("a plan sees what the parts before will have taken away", async () => {
    const host = await fresh();
    await addContainer(host, "web-01");
    host.forget();
    const planned = await plan(host, "everything");
    expect(planned.filter(({ finding }) => finding.state === "blocked")).toEqual([]);
    expect(await left(host, "everything")).toEqual(
      expect.arrayContaining([
        "Destroy the container web-01 and its data",
        `Delete all in ${POOL}: templates, plugins, state and the audit log`,
        "Take the subordinate ids from 100000 on away from root (/etc/subuid, /etc/subgid)",
        "Remove /var/lib/opdbus-pve",
      ]),
    );
    expect(host.changes).toEqual([]);
  });

  test("everything: the host is as it was, and a second run finds nothing", async () => {
    const host = await fresh();
    await addContainer(host, "web-01");
    const outcomes = await remove(host, "everything");
    expect(outcomes.filter(({ outcome }) => outcome === "left")).toEqual([]);
    const untouched = debianHost({
      root: kind === "a BTRFS host" ? "btrfs" : "ext4",
      files: kind.endsWith("disk") ? { "/dev/sdb": "" } : {},
    });
    expect(paths(host)).toEqual(paths(untouched));
    expect(await host.readText("/etc/subuid")).toBe("");
    expect(await left(host, "everything")).toEqual([]);
  });

  test("cut off before any of its changes, it is finished by the next run", { timeout: 60_000 }, async () => {
    const whole = await fresh();
    await addContainer(whole, "web-01");
    whole.forget();
    await remove(whole, "everything");
    for (let cut = 0; cut < whole.changes.length; cut++) {
      const host = await fresh();
      await addContainer(host, "web-01");
      host.forget();
      const where = `cut at ${whole.changes[cut]}`;
      await expect(remove(diesAt(host, cut), "everything"), where).rejects.toThrow("killed");
      await revealPool(host);
      const outcomes = await remove(host, "everything");
      expect(
        outcomes.filter(({ outcome }) => outcome === "left"),
        where,
      ).toEqual([]);
      expect(paths(host), where).toEqual(paths(whole));
    }
  });
});

describe("on record", () => {
  const ACTOR = { user: "root", pid: 7, node: "node1" };
  const journal = async (host: MemoryHost) =>
    ((await host.readText(`${HOST_STATE}/install-journal.jsonl`)) ?? "")
      .split("\n")
      .filter(Boolean)
      .map((line) => (JSON.parse(line) as { target: string }).target);

  test.each(["program", "settings"] as const)("is a removal of the %s, also where the pool is away", async (degree) => {
    const host = await installed("ext4", LOOP);
    await host.run(["systemctl", "stop", POOL_MOUNT_UNIT]);
    await applyRemovals(await parts(host), host, degree, say, removalRecorder(host, ACTOR, degree));
    expect(await journal(host)).toEqual(expect.arrayContaining(["installed", "package"]));
  });

  test("is one of everything until its place is gone", async () => {
    const host = await installed("ext4", LOOP);
    host.script("perl", { exitCode: 1, stderr: "/etc/subuid: Read-only file system" });
    host.script("perl -e use Fcntl qw(:DEFAULT :seek);", { exitCode: 1, stderr: "/etc/subuid: Read-only file system" });
    await applyRemovals(await parts(host), host, "everything", say, removalRecorder(host, ACTOR, "everything"));
    expect(new Set(await journal(host))).toEqual(new Set(["installed", "program", "environment"]));
  });

  test("and leaves nothing of the record when it is done", async () => {
    const host = await installed("ext4", LOOP);
    await applyRemovals(await parts(host), host, "everything", say, removalRecorder(host, ACTOR, "everything"));
    expect(paths(host)).toEqual(paths(debianHost({ root: "ext4" })));
  });
});

describe("what is not ours, or in use, stays and is told; the program stays with it", () => {
  const told = async (host: MemoryHost) =>
    (await remove(host, "everything")).flatMap(({ id, reason }) => (reason === undefined ? [] : [[id, reason]]));

  test("files of others in the pool", async () => {
    const host = await installed("ext4", LOOP);
    host.tree.put(`${POOL}/backup.tar`, { text: "theirs" });
    expect(await told(host)).toEqual([
      ["subvolumes", `the pool holds what is not of this program: ${POOL}/backup.tar`],
      ["host-state", "it stays until this can be removed, too: subvolumes"],
      ["package", "it stays until this can be removed, too: subvolumes"],
    ]);
    expect(await host.readText(`${POOL}/backup.tar`)).toBe("theirs");
    expect(await host.stat(POOL_IMAGE)).toBeDefined();
  });

  test("a pool that is not mounted: nobody can see what is in it", async () => {
    const host = await installed("ext4", LOOP);
    const mounts = (await host.readText("/proc/self/mountinfo")) ?? "";
    host.tree.put("/proc/self/mountinfo", { text: mounts.replace(/^.*op-dbus.*\n/m, "") });
    host.tree.drop(POOL);
    host.tree.put(POOL, {});
    expect((await told(host))[0]).toEqual(["subvolumes", expect.stringContaining("it is not mounted")]);
    expect(await host.stat(POOL_IMAGE)).toBeDefined();
    expect(await host.stat(POOL_MOUNT_UNIT_FILE)).toBeDefined();
  });

  test("a pool that somebody stands in", async () => {
    const host = await installed("ext4", LOOP);
    host.script("systemctl stop", { exitCode: 1, stderr: "Job for mount failed: target is busy" });
    expect((await told(host))[0]).toEqual(["subvolumes", expect.stringContaining("target is busy")]);
    expect(await host.stat(POOL_IMAGE)).toBeDefined();
    expect((await host.probe(["systemctl", "is-enabled", POOL_MOUNT_UNIT])).exitCode, "it comes back at boot").toBe(0);
  });

  test("a container that cannot be destroyed keeps the pool", async () => {
    const host = await installed("btrfs", {});
    await addContainer(host, "web-01");
    host.script("systemctl is-enabled lxc@web-01.service", () => {
      throw new UserError("systemd does not answer");
    });
    expect((await told(host)).map(([id]) => id)).toEqual(["containers", "subvolumes", "host-state", "package"]);
    expect(await host.stat(`${POOL}/@containers/web-01/rootfs`)).toBeDefined();
  });

  test("a file of a pool that nothing mounts: nobody can see what is in it", async () => {
    const host = await installed("ext4", LOOP);
    await addContainer(host, "web-01");
    await host.run(["systemctl", "stop", POOL_MOUNT_UNIT]);
    await host.remove(POOL_MOUNT_UNIT_FILE);
    expect(await revealPool(host)).toBe(false);
    const planned = await plan(host, "everything");
    expect(() => refuseBlockedRemoval(planned)).toThrow(
      expect.objectContaining({
        message: expect.stringContaining(`subvolumes: nobody can see what is in ${POOL_IMAGE}`),
        hint: expect.stringContaining("opdbus-pve install --pool-size"),
        exitCode: 3,
      }),
    );
    expect((await told(host))[0]?.[0]).toBe("subvolumes");
    expect(await host.readText(POOL_IMAGE)).toBe("btrfs");
  });

  test("a pool in a file that was mounted by hand is not taken for one on a disk", async () => {
    const host = await installed("ext4", LOOP);
    await host.remove(POOL_MOUNT_UNIT_FILE);
    const kept = (await remove(host, "everything")).find(({ outcome }) => outcome === "left");
    expect(kept).toMatchObject({
      id: "subvolumes",
      reason: expect.stringContaining(`what is in ${POOL_IMAGE}`),
      hint: expect.stringMatching(/^umount \/var\/lib\/op-dbus && opdbus-pve install --pool-size /),
    });
    expect(await host.stat(`${POOL}/@containers`)).toBeDefined();
  });

  test("a file of an earlier pool beside a pool on a disk", async () => {
    const host = await installed("ext4", DEVICE, { "/dev/sdb": "" });
    host.tree.put(POOL_IMAGE, { text: "btrfs" });
    const kept = (await remove(host, "everything")).find(({ outcome }) => outcome === "left");
    expect(kept).toMatchObject({ id: "subvolumes", hint: expect.stringMatching(/^mount -o loop,ro /) });
    expect(await host.stat(POOL_IMAGE)).toBeDefined();
    expect(await host.stat(`${POOL}/@containers`)).toBeDefined();
  });

  test("a disk that is away, also where a removal left something of an earlier pool", async () => {
    const host = await installed("ext4", DEVICE, { "/dev/sdb": "" });
    host.tree.put(IMAGE_GOING, { text: "" });
    await host.run(["systemctl", "stop", POOL_MOUNT_UNIT]);
    await expect(requirePool(host)).rejects.toMatchObject({ hint: `systemctl start '${POOL_MOUNT_UNIT}'` });
    const kept = (await remove(host, "everything")).find(({ outcome }) => outcome === "left");
    expect(kept).toMatchObject({
      id: "subvolumes",
      reason: expect.stringContaining("it is not mounted"),
      hint: expect.stringMatching(
        /^systemctl start '[^]+'\nsystemctl disable '[^]+'; rm '[^]+' {3}# gives it up, as it is$/,
      ),
    });
    expect(await host.stat(POOL_MOUNT_UNIT_FILE)).toBeDefined();
  });

  test("a pool whose file is lost can be given up, and then all goes", async () => {
    const host = await installed("ext4", LOOP);
    await host.run(["systemctl", "stop", POOL_MOUNT_UNIT]);
    await host.remove(POOL_IMAGE);
    const kept = (await remove(host, "everything")).find(({ outcome }) => outcome === "left");
    expect(kept?.hint).toContain("or give the pool up: systemctl disable ");
    await host.run(["systemctl", "disable", "--quiet", POOL_MOUNT_UNIT]);
    await host.remove(POOL_MOUNT_UNIT_FILE);
    expect((await remove(host, "everything")).filter(({ outcome }) => outcome === "left")).toEqual([]);
  });

  test.each(["@snapshots/1", "@cache/pacman", "@state/backup.db", "@vectors/x", "@timing/blockchain.db.damaged"])(
    "on a disk that was used before: %s",
    async (name) => {
      const host = await installed("ext4", DEVICE, { "/dev/sdb": "" });
      host.tree.put(`${POOL}/${name}/theirs`, { text: "theirs" });
      expect((await told(host))[0]).toEqual([
        "subvolumes",
        `the pool holds what is not of this program: ${POOL}/${name}`,
      ]);
      expect(await host.readText(`${POOL}/${name}/theirs`)).toBe("theirs");
    },
  );

  test("what a process left that was killed while it wrote is ours", async () => {
    const host = await installed("btrfs", {});
    host.tree.put(`${POOL}/@state/.current-state.json.opdbus-77-x1`, { text: "" });
    host.tree.put(`${POOL}/@timing/blockchain.db.new-77-6c0f`, { text: "" });
    expect(await told(host)).toEqual([]);
  });

  test("a record that cannot be written keeps the pool that it lies in", async () => {
    const host = await installed("btrfs", {});
    const damaged: Recorder = () => Promise.reject(new UserError("Nothing was done, because it could not be recorded"));
    const outcomes = await applyRemovals(await parts(host), host, "everything", say, (operation, target, ...rest) =>
      target === "subvolumes" ? unrecorded(operation, target, ...rest) : damaged(operation, target, ...rest),
    );
    expect(outcomes.map(({ outcome }) => outcome)).not.toContain("removed");
    expect(await host.stat(`${POOL}/@timing`)).toBeDefined();
  });

  test("ids that a removal, cut off, took out of one of the two files", async () => {
    const host = await installed("ext4", LOOP);
    host.tree.put("/etc/subuid", { text: "" });
    expect(await left(host, "everything")).toContainEqual(expect.stringMatching(/^Take the subordinate ids/));
    await remove(host, "everything");
    expect(await host.readText("/etc/subgid")).toBe("");
  });

  test("a receipt that cannot be read keeps no program from being removed", async () => {
    const host = await installed("btrfs", {});
    host.tree.put(`${HOST_STATE}/receipt.json`, { text: "{" });
    const blocked = async (degree: Degree) =>
      (await plan(host, degree)).filter(({ finding }) => finding.state === "blocked").map(({ id }) => id);
    expect(await blocked("program")).toEqual([]);
    expect(await blocked("settings")).toEqual([]);
    expect(await blocked("everything")).toEqual(["environment"]);
  });

  test("what a removal left of an earlier pool does not give the next one away", async () => {
    const host = await installed("ext4", LOOP);
    host.tree.put(IMAGE_GOING, { text: "" });
    await host.run(["systemctl", "stop", POOL_MOUNT_UNIT]);
    await host.remove(POOL_MOUNT_UNIT_FILE);
    expect((await told(host))[0]?.[0]).toBe("subvolumes");
    expect(await host.stat(POOL_IMAGE)).toBeDefined();
  });

  test("a container that was made after the admin was asked", async () => {
    const host = await installed("btrfs", {});
    await addContainer(host, "web-01");
    const asked = await parts(host);
    await addContainer(host, "web-02");
    const outcomes = await applyRemovals(asked, host, "everything", say, unrecorded);
    expect(outcomes.filter(({ outcome }) => outcome === "left").map(({ id, reason }) => [id, reason])).toEqual([
      ["subvolumes", "the container web-02 is in the pool"],
      ["host-state", "it stays until this can be removed, too: subvolumes"],
      ["package", "it stays until this can be removed, too: subvolumes"],
    ]);
    expect(outcomes.at(-1)?.hint).toBe("opdbus-pve uninstall --everything");
    expect(await listContainers(host)).toEqual(["web-02"]);
  });

  test.each([SETTINGS, HOST_STATE])("what somebody mounted in %s", async (folder) => {
    const host = await installed("btrfs", {});
    const mounts = (await host.readText("/proc/self/mountinfo")) ?? "";
    host.tree.put(`${folder}/data/theirs`, { text: "theirs" });
    host.tree.put("/proc/self/mountinfo", {
      text: `${mounts}98 27 0:61 / ${folder}/data rw shared:98 - ext4 /dev/sdc rw\n`,
    });
    expect((await told(host))[0]?.[1]).toContain(`something is mounted in it, at ${folder}/data`);
    expect(await host.readText(`${folder}/data/theirs`)).toBe("theirs");
  });

  const REMAINS = [
    ["installed", true],
    ["unpacked", true],
    ["half-configured", true],
    ["half-installed", true],
    ["triggers-awaited", true],
    ["config-files", false],
    ["not-installed", false],
  ] as const;
  test.each(REMAINS)("a package that is %s: there is something to remove: %s", async (status, remains) => {
    const host = await installed("btrfs", {});
    host.tree.put("/var/lib/dpkg/status", { text: status });
    expect((await left(host, "program")).includes("Remove the Debian package opdbus-pve")).toBe(remains);
    expect((await left(host, "settings")).includes("Purge the Debian package opdbus-pve")).toBe(
      status !== "not-installed",
    );
  });

  test("a package that dpkg cannot remove, and where it says why", async () => {
    const host = await installed("btrfs", {});
    const unit = "--quiet --collect --wait --unit=opdbus-pve-removal --service-type=exec";
    host.script(`systemd-run ${unit} -- dpkg --remove`, { exitCode: 1 });
    const [, gone] = (await remove(host, "program")).filter(({ outcome }) => outcome !== "already");
    expect(gone).toMatchObject({
      id: "package",
      outcome: "left",
      reason: "`dpkg --remove opdbus-pve` failed",
      hint: "journalctl --no-pager --unit opdbus-pve-removal   # says why",
    });
  });

  test("a removal of the package that is under way already", async () => {
    const host = await installed("btrfs", {});
    const stderr = "Failed to start transient service unit: Unit opdbus-pve-removal.service was already loaded.";
    const unit = "--quiet --collect --wait --unit=opdbus-pve-removal --service-type=exec";
    host.script(`systemd-run ${unit} -- dpkg --remove`, { exitCode: 1, stderr });
    expect((await remove(host, "program")).at(-1)?.reason).toContain("was already loaded");
  });

  const USERS_OF_IDS = [
    ["/var/lib/lxc/theirs/config", "lxc.idmap = u 0 100000 65536\n"],
    ["/var/lib/lxc/theirs/config", "lxc.idmap = u 0 0 1000\nlxc.idmap = u 1000 101000 10\n"],
    ["/etc/lxc/default.conf", "lxc.idmap = g 0 90000 20000\n"],
    ["/etc/pve/lxc/101.conf", "arch: amd64\nunprivileged: 1\n"],
    ["/etc/pve/lxc/102.conf", "lxc.idmap: u 0 165535 1\n"],
  ];
  test.each(USERS_OF_IDS)("ids that %s maps stay root's, and that is said", async (path, text) => {
    const host = await installed("ext4", LOOP);
    host.tree.put(path, { text });
    const outcomes = await remove(host, "everything");
    expect(outcomes.find(({ id }) => id === "environment")).toMatchObject({
      outcome: "already",
      stays: [`root's subordinate ids from 100000 on, which ${path} uses`],
    });
    expect(outcomes.filter(({ outcome }) => outcome === "left")).toEqual([]);
    expect(await host.readText("/etc/subuid")).toBe("root:100000:65536\n");
  });

  test("ids of other containers than those of this range do not hold it", async () => {
    const host = await installed("ext4", LOOP);
    host.tree.put("/var/lib/lxc/theirs/config", {
      text: "lxc.idmap = u 0 165536 65536\nlxc.idmap = g 0 34464 65536\n",
    });
    host.tree.put("/etc/pve/lxc/101.conf", { text: "arch: amd64\n" });
    await remove(host, "everything");
    expect(await host.readText("/etc/subuid")).toBe("");
  });

  test("ids that Incus gives to its containers", async () => {
    const host = await installed("ext4", LOOP);
    host.tree.put("/var/lib/incus/containers/c1", {});
    await remove(host, "everything");
    expect(await host.readText("/etc/subuid")).toBe("root:100000:65536\n");
  });

  test("ids that root had before", async () => {
    const host = await installed("ext4", LOOP, {
      "/etc/subuid": "root:300000:65536\n",
      "/etc/subgid": "root:300000:65536\n",
    });
    await remove(host, "everything");
    expect(await host.readText("/etc/subuid")).toBe("root:300000:65536\n");
  });

  test("a disk keeps its file system, emptied, and that is said", async () => {
    const host = await installed("ext4", DEVICE, { "/dev/sdb": "" });
    const outcomes = await remove(host, "everything");
    expect(outcomes.find(({ id }) => id === "subvolumes")?.stays).toEqual([
      expect.stringMatching(/^an empty BTRFS on \/dev\/disk\/by-uuid\//),
    ]);
    expect(await host.readText("/dev/sdb")).toBe("btrfs");
    expect(host.commands.filter((command) => /wipefs|mkfs|blkdiscard/.test(command))).toEqual([]);
  });
});
