import * as fc from "fast-check";
import { expect, test } from "vitest";
import {
  clonedConfig,
  limitsWithoutController,
  lxcConfig,
  renamedConfig,
  withoutKeys,
} from "../../src/containers/lxc-config.ts";
import type { ContainerRecord } from "../../src/containers/record.ts";
import { readFixture } from "../fixture.ts";

const RECORD: ContainerRecord = {
  schema: 1,
  name: "web-01",
  template: "debian-base",
  templateVersion: "20261101T120000Z",
  network: "socket",
  cores: 2,
  memoryMiB: 2048,
  swapMiB: 512,
  limitsNotInForce: [],
  createdAt: "2026-11-01T12:00:00.000Z",
};
const ALL = ["cpuset", "cpu", "io", "memory", "pids"];
const KEYS = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPx admin@example", "ssh-rsa AAAAB3Nz second key"];

test.each([
  ["web-01", ALL, []],
  ["web-01-ssh-keys", ALL, KEYS],
  ["web-01-best-effort", ["pids"], []],
] as const)("writes the configuration %s", (file, controllers, keys) => {
  const facts = { idRangeStart: 100_000, controllers, haltSignal: "SIGRTMIN+3" } as const;
  expect(lxcConfig(RECORD, facts, keys)).toBe(readFixture(`lxc/${file}.conf`));
});

test("the keys come back out of the one line they are in", () => {
  const text = lxcConfig(RECORD, { ...FACTS, controllers: [] }, KEYS);
  const encoded = /^lxc\.environment = OPDBUS_AUTHORIZED_KEYS=(\S+)$/m.exec(text)?.[1] ?? "";
  expect(Buffer.from(encoded, "base64").toString()).toBe(`${KEYS.join("\n")}\n`);
});

test("knows which limits a host cannot enforce", () => {
  expect(limitsWithoutController(RECORD, ALL)).toEqual([]);
  expect(limitsWithoutController(RECORD, ["memory"])).toEqual(["cores"]);
  expect(limitsWithoutController(RECORD, [])).toEqual(["cores", "memory", "swap"]);
});

const FACTS = { idRangeStart: 100_000, controllers: ALL, haltSignal: "SIGRTMIN+3" } as const;

test("under another name it is what a new one of that name would have", () => {
  const text = lxcConfig(RECORD, FACTS, KEYS);
  const renamed = { ...RECORD, name: "db" };
  expect(renamedConfig(text, "web-01", "db")).toBe(lxcConfig(renamed, FACTS, KEYS));
  expect(clonedConfig(text, "web-01", "db")).toEqual({ text: lxcConfig(renamed, FACTS, KEYS), leftOut: [] });
  expect(withoutKeys(text)).toBe(lxcConfig(RECORD, FACTS));
});

test.each([
  ["lxc.uts.name = web-01", "lxc.uts.name = db", "lxc.uts.name = db"],
  ["  lxc.uts.name=web-01.example.org ", "  lxc.uts.name=db.example.org", "  lxc.uts.name=db.example.org"],
  ["lxc.uts.name = mail", "lxc.uts.name = mail", "lxc.uts.name = db"],
  ["lxc.uts.name = web-011", "lxc.uts.name = web-011", "lxc.uts.name = db"],
  [
    "lxc.rootfs.path=dir:/var/lib/op-dbus/@containers/web-01/rootfs",
    "lxc.rootfs.path=dir:/var/lib/op-dbus/@containers/db/rootfs",
    "lxc.rootfs.path=dir:/var/lib/op-dbus/@containers/db/rootfs",
  ],
  ["lxc.rootfs.path = dir:/srv/web-01/rootfs", "lxc.rootfs.path = dir:/srv/web-01/rootfs", undefined],
  ["# lxc.uts.name = web-01", "# lxc.uts.name = web-01", "# lxc.uts.name = web-01"],
  ["lxc.environment = NAME=web-01", "lxc.environment = NAME=web-01", "lxc.environment = NAME=web-01"],
])("of an admin's line %j", (line, renamed, cloned) => {
  expect(renamedConfig(line, "web-01", "db")).toBe(renamed);
  if (cloned !== undefined) expect(clonedConfig(line, "web-01", "db").text).toBe(cloned);
});

test("a line that is none of ours is never changed by a renaming, and there and back is where it was", () => {
  const words = fc.constantFrom(
    "web-01",
    "db",
    "lxc.uts.name",
    "lxc.rootfs.path",
    "=",
    " ",
    "#",
    "dir:/x/rootfs",
    ".",
    "\n",
  );
  fc.assert(
    fc.property(fc.array(words, { maxLength: 12 }), (parts) => {
      const text = parts.join("");
      const once = renamedConfig(text, "web-01", "q");
      expect(renamedConfig(once, "web-01", "q")).toBe(once);
      expect(once.split("\n")).toHaveLength(text.split("\n").length);
      for (const [index, line] of once.split("\n").entries()) {
        if (!/^\s*lxc\.(uts\.name|rootfs\.path)\s*=/.test(line)) expect(line).toBe(text.split("\n")[index]);
      }
    }),
  );
});
