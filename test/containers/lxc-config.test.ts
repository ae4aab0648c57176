import { expect, test } from "vitest";
import { limitsWithoutController, lxcConfig } from "../../src/containers/lxc-config.ts";
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
  const facts = { idRangeStart: 100_000, controllers };
  expect(lxcConfig(RECORD, facts, keys)).toBe(readFixture(`lxc/${file}.conf`));
});

test("the keys come back out of the one line they are in", () => {
  const text = lxcConfig(RECORD, { idRangeStart: 1, controllers: [] }, KEYS);
  const encoded = /^lxc\.environment = OPDBUS_AUTHORIZED_KEYS=(\S+)$/m.exec(text)?.[1] ?? "";
  expect(Buffer.from(encoded, "base64").toString()).toBe(`${KEYS.join("\n")}\n`);
});

test("knows which limits a host cannot enforce", () => {
  expect(limitsWithoutController(RECORD, ALL)).toEqual([]);
  expect(limitsWithoutController(RECORD, ["memory"])).toEqual(["cores"]);
  expect(limitsWithoutController(RECORD, [])).toEqual(["cores", "memory", "swap"]);
});
