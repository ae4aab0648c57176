import { expect, test } from "vitest";
import { describeHost } from "../../src/plugins/describe-host.ts";
import { debianHost } from "../debian-host.ts";

test("knows a Proxmox VE by its own word, with its version", async () => {
  const said = "pve-manager/8.4.1/2a5fa54a8503f96d (running kernel: 6.8.12-10-pve)\n";
  const host = debianHost({ files: { "/usr/bin/pveversion": "" }, commands: { pveversion: said } });
  expect(await describeHost(host)).toMatchObject({
    system: "Debian GNU/Linux 13 (trixie)",
    kernel: "6.12.0-amd64",
    proxmox: "pve-manager/8.4.1/2a5fa54a8503f96d (running kernel: 6.8.12-10-pve)",
  });
});

test.each([
  ["there is none", {}, {}],
  ["it does not answer", { "/usr/bin/pveversion": "" }, { pveversion: { exitCode: 1, stderr: "no cluster" } }],
])("no Proxmox VE where %s", async (_, files, commands) => {
  expect((await describeHost(debianHost({ files, commands }))).proxmox).toBeNull();
});

test("a host without os-release has no name for its system", async () => {
  const host = debianHost();
  host.tree.drop("/etc/os-release");
  expect((await describeHost(host)).system).toBeNull();
});
