import { expect, test } from "vitest";
import { createContainer, prepareCreate, refuseTaken } from "../../src/containers/create.ts";
import { describeContainers, readConfig } from "../../src/containers/describe.ts";
import { linesNaming } from "../../src/containers/lxc-config.ts";
import { destroyContainer } from "../../src/containers/destroy.ts";
import { containerFolder, readRecord } from "../../src/containers/record.ts";
import { renameContainer } from "../../src/containers/rename.ts";
import { listSnapshots, takeSnapshot } from "../../src/containers/snapshot.ts";
import { startContainer } from "../../src/containers/start.ts";
import { setOnboot, startsOnBoot } from "../../src/containers/unit.ts";
import type { MemoryHost } from "../memory-host.ts";
import { CONTAINERS } from "../../src/paths.ts";
import { diesAt } from "../dies-at.ts";
import { interruptedAt } from "../interrupted-at.ts";
import { hostWith } from "./host-with.ts";
import { endProcess } from "./next-process.ts";

const OLD = containerFolder("web-01");
const NEW = containerFolder("web-02");
const OWN = "# mine\nlxc.mount.entry = /srv srv none bind 0 0\n";

/** A container that was started once, starts with the host, has a snapshot, and lines of its admin. */
async function hostWithOld(): Promise<MemoryHost> {
  const host = await hostWith("web-01");
  await setOnboot(host, "web-01", true);
  await takeSnapshot(host, "web-01", { wanted: "one" });
  host.tree.put(`${OLD}/rootfs/var/lib/opdbus/firstboot-done`, { text: "" });
  host.tree.put(`${OLD}/rootfs/etc/machine-id`, { text: "0123\n" });
  host.tree.put(`${OLD}/rootfs/etc/hostname`, { text: "web-01\n" });
  host.tree.put(`${OLD}/rootfs/root/data`, { text: "one" });
  host.tree.put(`${OLD}/hook.sh`, { text: "#!/bin/sh\n" });
  addLines(host, OWN);
  host.forget();
  return host;
}

function addLines(host: MemoryHost, lines: string): void {
  host.tree.put(`${OLD}/config`, { mode: 0o600, text: `${host.tree.get(`${OLD}/config`)?.text}${lines}` });
}

async function expectRenamed(host: MemoryHost): Promise<void> {
  expect(await host.list(CONTAINERS)).toEqual(["web-02"]);
  expect(await host.list("/var/lib/lxc")).toEqual(["web-02"]);
  expect(await host.readLink("/var/lib/lxc/web-02")).toBe(NEW);
  expect(await describeContainers(host)).toMatchObject([{ name: "web-02", record: { name: "web-02" } }]);
  expect(await startsOnBoot(host, "web-01")).toBe(false);
  expect(await startsOnBoot(host, "web-02")).toBe(true);
  expect(await host.readText(`${NEW}/rootfs/root/data`)).toBe("one");
  expect(await host.readText(`${NEW}/rootfs/etc/machine-id`)).toBe("0123\n");
  expect(await host.stat(`${NEW}/rootfs/etc/hostname`)).toBeUndefined();
  expect(await host.readText(`${NEW}/hook.sh`)).toBe("#!/bin/sh\n");
  expect(await listSnapshots(host, "web-02")).toMatchObject([{ name: "one", running: false }]);
  const config = (await host.readText(`${NEW}/config`)) ?? "";
  expect(config).toContain("lxc.uts.name = web-02\n");
  expect(config).toContain(`lxc.rootfs.path = dir:${NEW}/rootfs\n`);
  expect(config).toContain(OWN);
  expect(config).not.toContain("OPDBUS_AUTHORIZED_KEYS");
  expect(await host.stat(`${NEW}/config`)).toMatchObject({ mode: 0o600 });
  expect(await host.stat(`${NEW}/container.json`)).toMatchObject({ mode: 0o600 });
}

test("all that is a container's goes with it: files, identity, snapshots, its admin's lines, its start with the host", async () => {
  const host = await hostWithOld();
  await renameContainer(host, "web-01", "web-02");
  await expectRenamed(host);
  expect(await startContainer(host, "web-02")).toBe(true);
});

test("killed at any moment, it has the old name or the new one, says so, and the same call goes on with it", async () => {
  for (let cut = 0, done = false; !done; cut++) {
    const host = await hostWithOld();
    done = await renameContainer(diesAt(host, cut), "web-01", "web-02").then(
      () => true,
      () => false,
    );
    endProcess(host);
    const where = (await host.list(CONTAINERS)) ?? [];
    expect(where, `cut at ${cut}`).toHaveLength(1);
    expect(await host.readText(`${CONTAINERS}/${where[0]}/rootfs/root/data`), `cut at ${cut}`).toBe("one");
    const [found] = await describeContainers(host);
    if (found && "broken" in found) {
      expect(found).toMatchObject({
        name: "web-02",
        broken: "The renaming of web-01 to web-02 was cut off",
        mend: expect.stringContaining("op-dbus container rename web-01 web-02"),
      });
    }
    if (!done) await renameContainer(host, "web-01", "web-02");
    await expectRenamed(host);
  }
});

test("of a container that LXC did not know, the old name is not free either until all is done", async () => {
  const host = await hostWithOld();
  await host.remove("/var/lib/lxc/web-01");
  host.script("systemctl enable", { exitCode: 1, stderr: "Failed to enable unit: Read-only file system\n" });
  await expect(renameContainer(host, "web-01", "web-02")).rejects.toThrow("not everywhere");
  await expect(refuseTaken(host, "web-01")).rejects.toThrow("was cut off");
});

test("interrupted at any moment, it is renamed or not, and nothing between", async () => {
  for (let cut = 0, done = false; !done; cut++) {
    const host = await hostWithOld();
    done = await renameContainer(interruptedAt(host, cut), "web-01", "web-02").then(
      () => true,
      () => false,
    );
    if (done) await expectRenamed(host);
    else expect(await readRecord(host, "web-01"), `cut at ${cut}`).toMatchObject({ name: "web-01" });
  }
});

test("a disk that fails behind the renaming is told, with what goes on", async () => {
  const host = await hostWithOld();
  host.script("systemctl enable", { exitCode: 1, stderr: "Failed to enable unit: Read-only file system\n" });
  await expect(renameContainer(host, "web-01", "web-02")).rejects.toMatchObject({
    message: expect.stringMatching(/^web-01 is called web-02 now, but not everywhere: .*Read-only file system$/),
    hint: "op-dbus container rename web-01 web-02   # goes on where it ended",
  });
  await expect(refuseTaken(host, "web-01"), "the old name is not free yet").rejects.toThrow("was cut off");
  host.script("systemctl enable", ({ argv, tree }) =>
    tree.put(`/etc/systemd/system/multi-user.target.wants/${argv.at(-1)}`, { target: "/x" }),
  );
  await renameContainer(host, "web-01", "web-02");
  await expectRenamed(host);
});

test.each([
  ["it runs", "web-01", "web-02", "web-01 is running"],
  ["there is none", "db", "web-02", "There is no container db"],
  ["the name is taken", "web-01", "app", "There is a container app already"],
  ["LXC has one of that name", "web-01", "foreign", "LXC has a container foreign already that is not ours"],
])("refuses where %s, and changes nothing", async (_, name, to, message) => {
  const host = await hostWith("web-01", "app");
  host.tree.put("/var/lib/lxc/foreign/config", { text: "x" });
  if (message.endsWith("running")) await startContainer(host, "web-01");
  host.forget();
  await expect(renameContainer(host, name, to)).rejects.toThrow(message);
  expect(host.changes).toEqual([]);
});

test("one that is started meanwhile keeps its name", async () => {
  const host = await hostWithOld();
  const raced = {
    ...host,
    // somebody starts it behind our last look
    stat: async (path: string) => {
      if (path === NEW) await startContainer(host, "web-01");
      return host.stat(path);
    },
  };
  await expect(renameContainer(raced, "web-01", "web-02")).rejects.toThrow("web-01 is running");
  expect(await readRecord(host, "web-01")).toMatchObject({ name: "web-01" });
});

test("a name that is taken behind our look is left to whom it was given", async () => {
  const host = await hostWithOld();
  host.script("perl -e", { exitCode: 17, stderr: `${NEW}: File exists\n` });
  await expect(renameContainer(host, "web-01", "web-02")).rejects.toThrow("There is a container web-02 already");
  expect(await host.list(CONTAINERS)).toEqual(["web-01"]);
});

test("a new container of the old name is not taken for the old one", async () => {
  const host = await hostWithOld();
  await renameContainer(host, "web-01", "web-02");
  const request = { template: "debian-base", network: "none", cores: 1, memoryMiB: 64, swapMiB: 0 } as const;
  await createContainer(host, "web-01", await prepareCreate(host, { ...request, sshKeys: [], limits: "enforce" }));
  await expect(renameContainer(host, "web-01", "web-02")).rejects.toThrow("There is a container web-02 already");
  await renameContainer(host, "web-01", "web-03");
  expect((await describeContainers(host)).map(({ name }) => name)).toEqual(["web-02", "web-03"]);
});

test("lines of an admin that name the old folder are told, and comments are not", async () => {
  const host = await hostWithOld();
  addLines(
    host,
    [
      "# see /var/lib/lxc/web-01/notes",
      "lxc.hook.pre-start = /var/lib/lxc/web-01/hook.sh",
      `lxc.mount.entry = ${OLD} srv none bind 0 0`,
      "lxc.mount.entry = /var/lib/lxc/web-011/data srv none bind 0 0\n",
    ].join("\n"),
  );
  await renameContainer(host, "web-01", "web-02");
  expect(linesNaming(await readConfig(host, "web-02"), "web-01")).toEqual([
    "lxc.hook.pre-start = /var/lib/lxc/web-01/hook.sh",
    `lxc.mount.entry = ${OLD} srv none bind 0 0`,
  ]);
});

test("the old name of a renaming that was cut off is free for nobody, and its hint goes on with it", async () => {
  const host = await hostWithOld();
  await host.rename(OLD, NEW);
  const cutOff = {
    message: "The renaming of web-01 to web-02 was cut off",
    hint: expect.stringContaining("rename web-01 web-02"),
  };
  await expect(refuseTaken(host, "web-01")).rejects.toMatchObject(cutOff);
  await expect(destroyContainer(host, "web-01", true)).rejects.toMatchObject(cutOff);
  expect(await startsOnBoot(host, "web-01")).toBe(true);
  await renameContainer(host, "web-01", "web-02");
  await refuseTaken(host, "web-01");
});
