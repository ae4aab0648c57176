import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { memoryHost } from "../memory-host.ts";
import { FORBIDDEN, stageFiles, templateFiles } from "../../src/templates/contents.ts";
import { BUILT_FILES, readDefinition } from "../../src/templates/definition.ts";

const KEY = "ssh-ed25519 AAAAC3Nz me@example";
const DEFINITION = `
description = "x"
timezone = "Europe/Vienna"
root_ssh_keys = ["${KEY}"]
commands = ["touch /etc/mine", "echo done"]
[source]
type = "mmdebstrap"
suites = ["trixie"]
[units]
enable = ["one.service"]
disable = ["two.timer"]
mask = ["three.mount"]
[[users]]
name = "ada"
groups = ["adm", "sudo"]
ssh_keys = ["${KEY}"]
[[users]]
name = "bob"
shell = "/bin/sh"
[[files]]
path = "/etc/motd"
content = "hello"
mode = "600"
`;

async function files(text = DEFINITION) {
  const host = memoryHost({ files: { "/etc/opdbus/templates.d/mine.toml": text } });
  return templateFiles(await readDefinition(host, "mine"), "trixie", "20261101T120000Z");
}

async function finishLines(): Promise<string[]> {
  const script = (await files()).find(({ path }) => path === BUILT_FILES.finish);
  return script?.content.split("\n") ?? [];
}

test("lays files, keys and what the template is over the packages", async () => {
  const found = await files();
  const at = (path: string) => found.find((file) => file.path === path);
  expect(at("/etc/motd")).toEqual({ path: "/etc/motd", mode: 0o600, content: "hello" });
  expect(at("/root/.ssh/authorized_keys")).toMatchObject({ mode: 0o600, content: `${KEY}\n` });
  expect(at("/home/ada/.ssh/authorized_keys")).toMatchObject({ mode: 0o600 });
  expect(at("/home/bob/.ssh/authorized_keys")).toBeUndefined();
  expect(at("/etc/timezone")?.content).toBe("Europe/Vienna\n");
  expect(at(BUILT_FILES.finish)?.mode).toBe(0o700);
  const marker = JSON.parse(at("/etc/opdbus/template.json")?.content ?? "") as Record<string, unknown>;
  expect(marker).toMatchObject({ schema: 1, name: "mine", version: "20261101T120000Z", suite: "trixie" });
});

test("the finishing script does things in the order in which they depend on each other", async () => {
  const lines = await finishLines();
  const at = (start: string) => {
    const found = lines.findIndex((line) => line.startsWith(start));
    expect(found, start).toBeGreaterThan(-1);
    return found;
  };
  const order = [
    "#!/bin/sh",
    "set -eu",
    "ln -sfn /usr/share/zoneinfo/Europe/Vienna /etc/localtime",
    "useradd --create-home --shell /bin/bash --groups adm,sudo -- ada",
    "chown -R ada: /home/ada",
    "useradd --create-home --shell /bin/sh -- bob",
    "systemctl enable --quiet one.service",
    "systemctl disable --quiet two.timer",
    "systemctl mask --quiet three.mount",
    "chmod 700 /root/.ssh",
    "touch /etc/mine",
    "echo done",
    // after the commands, which may have made an identity again
    "rm -rf /etc/ssh/ssh_host_*",
    ": >/etc/machine-id",
    `rm -f ${BUILT_FILES.finish}`,
  ];
  expect(order.map(at)).toEqual(order.map(at).toSorted((one, other) => one - other));
  expect(at(`rm -f ${BUILT_FILES.finish}`)).toBe(lines.length - 2);
});

test("the finishing script is one that sh can read", async () => {
  const { status, stderr } = spawnSync("sh", ["-n"], { input: (await finishLines()).join("\n"), encoding: "utf8" });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
});

test("every identity that is forbidden in a file of packages is removed by the script", async () => {
  const text = (await finishLines()).join("\n");
  for (const { path } of FORBIDDEN.filter(({ path: each }) => !each.includes("net"))) {
    expect(text).toContain(path.startsWith("/etc/ssh/") ? "/etc/ssh/ssh_host_*" : path);
  }
});

test("stages files with their folders and modes", async () => {
  const host = memoryHost();
  await stageFiles(host, "/stage", await files());
  expect(await host.stat("/stage/root/.ssh/authorized_keys")).toMatchObject({ mode: 0o600, uid: 0 });
  expect(await host.readText("/stage/etc/motd")).toBe("hello");
});
