import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Suite } from "../../lab/image.ts";
import { type LabNode, stopNode } from "../../lab/node.ts";
import { startInstalledNode } from "../../lab/program.ts";

const SUITES: readonly Suite[] = ["bookworm", "trixie"];

describe.each(SUITES)("a %s host, installed from nothing", (suite) => {
  let node: LabNode;

  beforeAll(async () => {
    node = await startInstalledNode("main-job", suite);
  });
  afterAll(() => stopNode("main-job"));

  const op = (...argv: string[]) => node.run(["op-dbus", ...argv]);
  const query = async () => JSON.parse((await op("query")).stdout);

  test("has nothing left to do", async () => {
    expect(await node.run(["opdbus-pve", "install", "--dry-run", "--exit-code"])).toMatchObject({ exitCode: 0 });
    expect(await op("doctor")).toMatchObject({ exitCode: 0 });
  });

  test("clones a container from its template, which boots with nothing failed", async () => {
    const made = await op(
      "container",
      "create",
      "web-01",
      "--template",
      "debian-base",
      "--network",
      "socket",
      "--wait",
    );
    expect(made).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/web-01: running\n$/) });
    const uids = await op("container", "exec", "web-01", "--", "cat", "/proc/self/uid_map");
    expect(uids.stdout).toMatch(/^\s*0\s+[1-9]\d{4,}\s+65536\s*$/);
    const failed = await op("container", "exec", "web-01", "--", "systemctl", "--failed", "--no-legend", "--plain");
    expect(failed.stdout).toBe("");
  });

  test("tells of it as one document, the version 1 state file of operation-dbus", async () => {
    expect(await query()).toMatchObject({
      version: 1,
      plugins: {
        net: { interfaces: expect.any(Array) },
        systemd: { units: { "opdbus.service": { active_state: "active", enabled: true, masked: false } } },
        lxc: {
          containers: [
            {
              id: "web-01",
              running: true,
              properties: {
                template: "debian-base",
                network_type: "socket",
                memory: 2048,
                swap: 512,
                cores: 2,
                unprivileged: true,
              },
            },
          ],
        },
      },
      host: { name: "main-job" },
      pool: { kind: "loop", path: "/var/lib/op-dbus" },
      templates: { "debian-base": { suite: "trixie" } },
    });
  });

  test("shows what its pool holds, with the compression that was measured", async () => {
    const { subvolumes } = JSON.parse((await op("status", "--json")).stdout);
    const templates = subvolumes.find(({ name }: { name: string }) => name === "@templates");
    expect(templates.size_bytes).toBeGreaterThan(100 * 2 ** 20);
    expect(templates.used_bytes).toBeGreaterThan(0);
    expect(templates.used_bytes).toBeLessThan(templates.size_bytes);
  });

  test("has all of it on record", async () => {
    const { rows } = JSON.parse((await op("audit", "log", "--target", "web-01", "--json")).stdout);
    expect(
      rows.map(
        ({ operation, metadata }: { operation: string; metadata: { status: string } }) =>
          `${operation} ${metadata.status}`,
      ),
    ).toEqual(["container_create started", "container_create ok", "container_start started", "container_start ok"]);
    expect(await op("audit", "verify")).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining("every hash fits"),
    });
    // somebody with a database client
    const tampered = await node.run([
      "/usr/lib/opdbus-pve/bin/node",
      "-e",
      `
      const { DatabaseSync } = require("node:sqlite");
      new DatabaseSync("/var/lib/op-dbus/@timing/blockchain.db").exec("UPDATE operations SET target = 'web-02' WHERE id = 2");
    `,
    ]);
    expect(tampered.exitCode).toBe(0);
    expect(await op("audit", "verify")).toMatchObject({ exitCode: 5, stderr: expect.stringContaining("row 2") });
  });
});
