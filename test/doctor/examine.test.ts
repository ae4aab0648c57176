import { expect, test } from "vitest";
import { examine } from "../../src/doctor/examine.ts";
import { UserError } from "../../src/host/errors.ts";
import type { Step } from "../../src/install/step.ts";
import { CONTAINERS, TEMPLATES } from "../../src/paths.ts";
import { installedHost } from "../installed-host.ts";

const DROP_INS = "/usr/share/lxc/config/common.conf.d";

function step(id: string, finding: Awaited<ReturnType<Step["check"]>>): Step {
  return { id, title: `title of ${id}`, notYet: ["more of it"], check: async () => finding, apply: async () => {} };
}

test("tells of every step what it found, and how that is mended", async () => {
  const steps = [
    step("fine", { state: "ok" }),
    step("pending", { state: "change", changes: ["Write a", "Write b"] }),
    step("stuck", { state: "blocked", reason: "no disk", hint: "buy one" }),
    step("future", { state: "later" }),
  ];
  expect(await examine(installedHost(), steps)).toEqual([
    { code: "fine", state: "ok", what: "title of fine", mend: null, notYet: ["more of it"] },
    { code: "pending", state: "change", what: "Write a; Write b", mend: "opdbus-pve install", notYet: ["more of it"] },
    { code: "stuck", state: "blocked", what: "no disk", mend: "buy one", notYet: ["more of it"] },
    { code: "future", state: "later", what: "title of future", mend: null, notYet: ["more of it"] },
  ]);
});

test.each([
  "lxc.apparmor.profile = unconfined",
  "lxc.apparmor.profile=unconfined",
  "lxc.cgroup.devices.allow = a",
  "lxc.cgroup2.devices.allow = a",
  "lxc.cap.drop =",
])("names a drop-in that loosens every container of the node: %s", async (line) => {
  const host = installedHost({ files: { [`${DROP_INS}/99-op-dbus.conf`]: `# old\n${line}\nlxc.tty.max = 4\n` } });
  expect(await examine(host, [])).toEqual([
    {
      code: "drop-in",
      state: "blocked",
      what: `${DROP_INS}/99-op-dbus.conf has "${line}", which takes protection from every container of this node`,
      mend: `rm ${DROP_INS}/99-op-dbus.conf   # after a look at who needs it`,
      notYet: [],
    },
  ]);
});

test.each([
  "lxc.apparmor.profile = generated",
  "lxc.cgroup2.devices.allow = c 10:200 rwm",
  "lxc.cap.drop = mac_admin",
  "# lxc.cap.drop =",
])("leaves other drop-ins alone: %s", async (line) => {
  const host = installedHost({ files: { [`${DROP_INS}/01-pve.conf`]: `${line}\n` } });
  expect(await examine(host, [])).toEqual([]);
});

test("names a template that cannot be used, and what mends it", async () => {
  const host = installedHost();
  host.tree.drop(`${TEMPLATES}/debian-base/rootfs`);
  expect(await examine(host, [])).toEqual([
    {
      code: "template",
      state: "blocked",
      what: "the template debian-base has no current version",
      mend: "op-dbus template build debian-base   # or: op-dbus template remove debian-base",
      notYet: [],
    },
  ]);
});

test("names a pool that is nearly full", async () => {
  const host = installedHost({ space: { total: 100 * 2 ** 30, free: 9 * 2 ** 30 } });
  expect(await examine(host, [])).toMatchObject([
    { code: "pool-space", what: "the pool is nearly full: 9.0 GiB of 100 GiB are free" },
  ]);
});

test("a folder that cannot be read is told, and hides nothing else", async () => {
  const host = installedHost({ files: { [`${DROP_INS}/99-op-dbus.conf`]: "lxc.cap.drop =\n" } });
  const failing = new UserError(`Unable to read ${TEMPLATES}: the disk failed`, { hint: "dmesg" });
  const list = (path: string) => (path === TEMPLATES ? Promise.reject(failing) : host.list(path));
  expect(await examine({ ...host, list }, [])).toMatchObject([
    { code: "template", state: "blocked", what: failing.message, mend: "dmesg" },
    { code: "drop-in", state: "blocked" },
  ]);
});

test("names a container that is broken, and not those that are not", async () => {
  const host = installedHost({ files: { [`${CONTAINERS}/web-01/container.json`]: "{" } });
  expect(await examine(host, [])).toMatchObject([
    {
      code: "container",
      what: expect.stringContaining("web-01/container.json is broken"),
      mend: expect.stringContaining("op-dbus container destroy web-01 --force"),
    },
  ]);
});
