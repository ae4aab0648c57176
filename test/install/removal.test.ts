import { describe, expect, test } from "vitest";
import { settingsSchema } from "../../src/config/settings.ts";
import { createContainer, prepareCreate } from "../../src/containers/create.ts";
import { UserError } from "../../src/host/errors.ts";
import type { Host } from "../../src/host/host.ts";
import type { MemoryHost } from "../memory-host.ts";
import { installSteps } from "../../src/install/install-steps.ts";
import { applyRemovals, planRemovals, removalParts, revealPool } from "../../src/install/removal.ts";
import { applySteps, type Recorder } from "../../src/install/run-steps.ts";
import type { Degree } from "../../src/install/step.ts";
import { POOL, POOL_IMAGE, POOL_MOUNT_UNIT_FILE } from "../../src/paths.ts";
import type { PoolRequest } from "../../src/pool/plan-pool.ts";
import { debianHost } from "../debian-host.ts";
import { diesAt } from "../dies-at.ts";

const unrecorded: Recorder = (_operation, _target, _details, change) => change();
const say = () => {};
const steps = (pool: PoolRequest) => installSteps(settingsSchema.parse({}), pool).filter(({ id }) => id !== "audit");
const PARTS = removalParts(steps({}));

async function installed(root: "btrfs" | "ext4", pool: PoolRequest, files = {}): Promise<MemoryHost> {
  const host = debianHost({ root, files });
  await applySteps(steps(pool), host, say, unrecorded);
  host.forget();
  return host;
}

const remove = (host: Host, degree: Degree) => applyRemovals(PARTS, host, degree, say, unrecorded);
const plan = (host: Host, degree: Degree) => planRemovals(PARTS, host, degree);
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
    host.script("systemctl disable", { exitCode: 1, stderr: "Job for mount failed: target is busy" });
    expect((await told(host))[0]).toEqual(["subvolumes", expect.stringContaining("target is busy")]);
    expect(await host.stat(POOL_IMAGE)).toBeDefined();
  });

  test("a container that cannot be destroyed keeps the pool", async () => {
    const host = await installed("btrfs", {});
    await addContainer(host, "web-01");
    host.script("systemctl is-enabled lxc@web-01.service", () => {
      throw new UserError("systemd does not answer");
    });
    expect((await told(host)).map(([id]) => id)).toEqual([
      "containers",
      "subvolumes",
      "environment",
      "host-state",
      "package",
    ]);
    expect(await host.stat(`${POOL}/@containers/web-01/rootfs`)).toBeDefined();
  });

  test("ids that a container of somebody else maps", async () => {
    const host = await installed("ext4", LOOP);
    host.tree.put("/var/lib/lxc/theirs/config", { text: "lxc.idmap = u 0 100000 65536\n" });
    expect(await told(host)).toEqual([
      ["environment", "root's subordinate ids from 100000 on are used by /var/lib/lxc/theirs/config"],
      ["host-state", "it stays until this can be removed, too: environment"],
      ["package", "it stays until this can be removed, too: environment"],
    ]);
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
    expect(await left(host, "everything")).toContainEqual(
      expect.stringContaining("an empty BTRFS stays on /dev/disk/by-uuid/"),
    );
    await remove(host, "everything");
    expect(await host.readText("/dev/sdb")).toBe("btrfs");
    expect(host.commands.filter((command) => /wipefs|mkfs/.test(command))).toEqual(
      ["mkfs.btrfs --quiet --label opdbus -- /dev/sdb"].slice(1),
    );
  });
});
