import { expect, test } from "vitest";
import { describeContainers } from "../../src/containers/describe.ts";
import { containerFolder, readRecord } from "../../src/containers/record.ts";
import { renameContainer } from "../../src/containers/rename.ts";
import { rollbackContainer } from "../../src/containers/rollback.ts";
import { listSnapshots, takeSnapshot } from "../../src/containers/snapshot.ts";
import { startContainer } from "../../src/containers/start.ts";
import { setOnboot, startsOnBoot } from "../../src/containers/unit.ts";
import { CommandFailed } from "../../src/host/command-failed.ts";
import type { MemoryHost } from "../memory-host.ts";
import { CONTAINERS } from "../../src/paths.ts";
import { listSocket } from "../debian-host.ts";
import { diesAt } from "../dies-at.ts";
import { interruptedAt } from "../interrupted-at.ts";
import { hostWith } from "./host-with.ts";
import { endProcess } from "./next-process.ts";

const FOLDER = containerFolder("web-01");
const DATA = `${FOLDER}/rootfs/root/data`;

/** A container with the snapshots one and two, and another state after them. */
async function hostWithPast(): Promise<MemoryHost> {
  const host = await hostWith("web-01");
  host.tree.put(DATA, { text: "one" });
  await takeSnapshot(host, "web-01", { wanted: "one" });
  host.tree.put(DATA, { text: "two" });
  await takeSnapshot(host, "web-01", { wanted: "two" });
  host.tree.put(DATA, { text: "now" });
  edit(host, "config", (text) => `${text}lxc.mount.entry = /srv srv none bind 0 0\n`);
  edit(host, "container.json", (text) => text.replace('"cores": 1', '"cores": 7'));
  host.tree.put(`${FOLDER}/hook.sh`, { text: "#!/bin/sh\n" });
  host.forget();
  return host;
}

function edit(host: MemoryHost, file: string, change: (text: string) => string): void {
  const path = `${FOLDER}/${file}`;
  host.tree.put(path, { ...host.tree.get(path), text: change(host.tree.get(path)?.text ?? "") });
}

/** The state that the container is in: all of the present one, or all of the snapshot's. */
async function stateOf(host: MemoryHost): Promise<string> {
  const data = await host.readText(DATA);
  const { cores } = await readRecord(host, "web-01");
  const mounts = (await host.readText(`${FOLDER}/config`))?.includes("lxc.mount.entry");
  return `${data}, ${cores} cores, ${mounts ? "a mount" : "no mount"}`;
}
const NOW = "now, 7 cores, a mount";
const ONE = "one, 1 cores, no mount";

test("files, record and configuration are those of the snapshot; snapshots and what an admin put there stay", async () => {
  const host = await hostWithPast();
  await setOnboot(host, "web-01", true);
  expect(await stateOf(host)).toBe(NOW);
  await rollbackContainer(host, "web-01", "one");
  expect(await stateOf(host)).toBe(ONE);
  expect((await host.probe(["btrfs", "property", "get", `${FOLDER}/rootfs`, "ro"])).stdout).toBe("ro=false\n");
  expect(await host.stat(FOLDER)).toMatchObject({ mode: 0o700 });
  expect(await host.readText(`${FOLDER}/hook.sh`)).toBe("#!/bin/sh\n");
  expect((await listSnapshots(host, "web-01")).map((one) => [one.name, "broken" in one])).toEqual([
    ["one", false],
    ["two", false],
  ]);
  for (const name of ["one", "two"])
    expect((await host.probe(["btrfs", "property", "get", `${FOLDER}/snapshots/${name}/rootfs`, "ro"])).stdout).toBe(
      "ro=true\n",
    );
  expect(await startsOnBoot(host, "web-01")).toBe(true);
  expect(await host.list(CONTAINERS)).toEqual(["web-01"]);
  // and there is a way forward again
  await rollbackContainer(host, "web-01", "two");
  expect(await host.readText(DATA)).toBe("two");
});

test("killed at any moment, it is all as it was or all as it was to be, with its snapshots", async () => {
  for (let cut = 0, done = false; !done; cut++) {
    const host = await hostWithPast();
    done = await rollbackContainer(diesAt(host, cut), "web-01", "one").then(
      () => true,
      () => false,
    );
    const state = await stateOf(host);
    expect([NOW, ONE], `cut at ${cut}`).toContain(state);
    if (done) expect(state).toBe(ONE);
    expect(await listSnapshots(host, "web-01"), `cut at ${cut}`).toHaveLength(2);
    endProcess(host);
    await rollbackContainer(host, "web-01", "two");
    expect(await host.readText(DATA)).toBe("two");
    expect(await host.readText(`${FOLDER}/hook.sh`)).toBeDefined();
    expect(await host.list(CONTAINERS), `cut at ${cut}`).toEqual(["web-01"]);
  }
});

test("interrupted at any moment, it is all one or the other, and nothing is left", async () => {
  for (let cut = 0, done = false; !done; cut++) {
    const host = await hostWithPast();
    done = await rollbackContainer(interruptedAt(host, cut), "web-01", "one").then(
      () => true,
      () => false,
    );
    expect([NOW, ONE], `cut at ${cut}`).toContain(await stateOf(host));
    expect(await host.list(CONTAINERS), `cut at ${cut}`).toEqual(["web-01"]);
  }
});

test("one that runs is not rolled back, and says how it can be", async () => {
  const host = await hostWithPast();
  await startContainer(host, "web-01");
  await expect(rollbackContainer(host, "web-01", "one")).rejects.toMatchObject({
    message: "web-01 is running",
    hint: "op-dbus container stop web-01   # then try again",
  });
  expect(await stateOf(host)).toBe(NOW);
});

test("one that is started meanwhile keeps the files that it runs from", async () => {
  const host = await hostWithPast();
  host.script("cp --archive --link", () => void startContainer(host, "web-01"));
  await expect(rollbackContainer(host, "web-01", "one")).rejects.toThrow("web-01 is running");
  expect(await stateOf(host)).toBe(NOW);
  expect(await host.list(CONTAINERS)).toEqual(["web-01"]);
});

test("a name of its socket that somebody else took is told", async () => {
  const host = await hostWithPast();
  listSocket(host.tree, "web-01", true);
  await expect(rollbackContainer(host, "web-01", "one")).rejects.toThrow(
    "Unable to change web-01: a process that is not LXC's has the name of its monitor's socket",
  );
  expect(await stateOf(host)).toBe(NOW);
});

test("what cannot be exchanged is told, and leaves all as it was", async () => {
  const host = await hostWithPast();
  host.script("perl -e", { exitCode: 30, stderr: `${FOLDER}: Read-only file system\n` });
  await expect(rollbackContainer(host, "web-01", "one")).rejects.toThrow(/Read-only file system$/);
  expect(await stateOf(host)).toBe(NOW);
  expect(await host.list(CONTAINERS)).toEqual(["web-01"]);
});

test("what is mounted in its folder stops it before anything is done", async () => {
  const host = await hostWithPast();
  const mounts = host.tree.get("/proc/self/mountinfo")?.text ?? "";
  host.tree.put("/proc/self/mountinfo", {
    text: `${mounts}99 27 0:60 / ${FOLDER}/data rw shared:99 - ext4 /dev/sdc rw\n`,
  });
  await expect(rollbackContainer(host, "web-01", "one")).rejects.toThrow("something is mounted in it");
  expect(host.changes).toEqual([]);
});

test.each([
  ["no such snapshot", "web-01", "three", "web-01 has no snapshot three"],
  ["no such container", "db", "one", "There is no container db"],
])("%s is told", async (_, name, snapshot, message) => {
  const host = await hostWithPast();
  await expect(rollbackContainer(host, name, snapshot)).rejects.toThrow(message);
  expect(host.changes).toEqual([]);
});

test("a record that broke comes back with a snapshot; a snapshot that broke does not take the others with it", async () => {
  const host = await hostWithPast();
  host.tree.put(`${FOLDER}/container.json`, { text: "{" });
  host.tree.drop(`${FOLDER}/snapshots/two/rootfs`);
  await rollbackContainer(host, "web-01", "one");
  expect(await stateOf(host)).toBe(ONE);
  expect(await host.list(`${FOLDER}/snapshots`)).toEqual(["one", "two"]);
});

test("a snapshot from before a renaming takes nothing of the name back", async () => {
  const host = await hostWithPast();
  host.tree.put(`${FOLDER}/snapshots/one/rootfs/etc/hostname`, { text: "web-01\n" });
  await renameContainer(host, "web-01", "web-02");
  await rollbackContainer(host, "web-02", "one");
  expect(await host.stat(`${containerFolder("web-02")}/rootfs/etc/hostname`)).toBeUndefined();
  expect(await describeContainers(host)).toMatchObject([{ name: "web-02", record: { name: "web-02", cores: 1 } }]);
  expect(await host.readText(`${containerFolder("web-02")}/config`)).toContain("lxc.uts.name = web-02\n");
});

test("a rollback whose last command was ended after its work is done, and not undone", async () => {
  const host = await hostWithPast();
  const run = host.run.bind(host);
  host.run = async (argv, options) => {
    const result = await run(argv, options);
    if (argv[2]?.includes("syscall(316"))
      throw new CommandFailed(argv, { exitCode: 143, stdout: "moved\n", stderr: "" });
    return result;
  };
  await rollbackContainer(host, "web-01", "one");
  expect(await stateOf(host)).toBe(ONE);
  expect(await host.list(CONTAINERS)).toEqual(["web-01"]);
});

test("a subvolume that an admin keeps in the folder is told before anything is done", async () => {
  const host = await hostWith("web-01");
  await takeSnapshot(host, "web-01", { wanted: "one" });
  host.tree.put("/var/lib/op-dbus/@containers/web-01/data", { inode: 256 });
  host.forget();
  await expect(rollbackContainer(host, "web-01", "one")).rejects.toMatchObject({
    message: expect.stringContaining("/var/lib/op-dbus/@containers/web-01/data is a subvolume of its own"),
    hint: expect.stringContaining("mv /var/lib/op-dbus/@containers/web-01/data /var/lib/"),
  });
  expect(host.changes).toEqual([]);
});
