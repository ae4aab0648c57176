import { parse } from "smol-toml";
import { describe, expect, test } from "vitest";
import { PLUGIN_SKELETONS } from "../../src/plugins/skeletons.ts";
import { queryState, saveState } from "../../src/plugins/state.ts";
import { Interrupted } from "../../src/host/errors.ts";
import { CONTAINERS, CURRENT_STATE, TEMPLATES } from "../../src/paths.ts";
import { interruptedAt } from "../interrupted-at.ts";
import { installedHost, VERSION_NAME } from "../installed-host.ts";
import { readFixture } from "../fixture.ts";

test("the state of a node as one document", async () => {
  const host = installedHost({
    commands: { "ip -json": readFixture("ip/address-show.json") },
    files: {
      [`${CONTAINERS}/broken/config`]: "",
      "/proc/net/unix": readFixture("proc/net-unix-lxc.txt"),
    },
  });
  const state = await queryState(host);
  expect(state).toMatchObject({
    version: 1,
    plugins: {
      net: {
        interfaces: [
          {
            name: "eth0",
            type: "ethernet",
            ipv4: { enabled: true, dhcp: true, address: [{ ip: "192.0.2.7", prefix: 24 }] },
          },
          { name: "vmbr0", type: "bridge", ipv4: { enabled: false, dhcp: false, address: [] } },
        ],
      },
      systemd: { units: { "opdbus.service": { active_state: "active", enabled: true, masked: false } } },
      lxc: {
        containers: [{ id: "broken", running: false, error: expect.stringContaining("container.json is missing") }],
      },
    },
    host: { name: "node1", system: "Debian GNU/Linux 13 (trixie)", kernel: "6.12.0-amd64", proxmox: null },
    pool: { kind: "subvolume" },
  });
});

test("an interruption is no part that cannot be read: what was saved before is kept", async () => {
  const host = installedHost({ files: { [CURRENT_STATE]: "good" } });
  await expect(saveState(interruptedAt(host, 0))).rejects.toThrow(Interrupted);
  expect(await host.readText(CURRENT_STATE)).toBe("good");
});

test("a template whose manifest is broken says so by itself", async () => {
  const host = installedHost({
    commands: { "ip -json": "[]" },
    files: { [`${TEMPLATES}/debian-base/versions/${VERSION_NAME}/manifest.json`]: "{" },
  });
  const state = await queryState(host);
  expect(state.errors).toBeUndefined();
  expect(state.templates).toEqual({
    "debian-base": { version: VERSION_NAME, error: expect.stringContaining("manifest.json is missing or broken") },
  });
});

test("a part that cannot be read says so and hides no other", async () => {
  const host = installedHost({ commands: { "ip -json": { exitCode: 1, stderr: "Cannot open netlink socket\n" } } });
  const state = await queryState(host);
  expect(state.plugins.net).toBeNull();
  expect(state).toMatchObject({ errors: { net: "ip: Cannot open netlink socket" }, host: { name: "node1" } });
});

describe.each(PLUGIN_SKELETONS.map((skeleton) => [skeleton.name, skeleton] as const))(
  "the plugin %s",
  (name, { files }) => {
    test("starts with files that can be read", () => {
      for (const { name: file, content } of files) {
        const read = file.endsWith(".toml") ? parse(content) : (JSON.parse(content) as unknown);
        expect(read, file).toBeTypeOf("object");
      }
      const toml = parse(files.find((file) => file.name === "plugin.toml")?.content ?? "");
      expect(toml).toMatchObject({ plugin: { name, version: "1.0.0" }, capabilities: { query: true, apply: false } });
    });

    test("is read-only until it says how to write", () => {
      const mapping = parse(files.find((file) => file.name === "semantic-mapping.toml")?.content ?? "");
      expect(mapping).toMatchObject({ service: { name }, methods: {}, safety: { allow_writes: false } });
    });
  },
);
