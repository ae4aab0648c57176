import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { forgetHostName, forgetIdentity, wasStarted } from "../../src/containers/identity.ts";
import { localHost } from "../../src/host/local-host.ts";
import { temporaryDirectory } from "../host/temporary-directory.ts";

const host = localHost(new AbortController().signal);

/** A tree of these files (and of links, whose text begins with an arrow), and a folder beside it that is none of its. */
function treeOf(files: Record<string, string>): { root: string; outside: string } {
  const base = temporaryDirectory();
  const [root, outside] = [join(base, "rootfs"), join(base, "outside")];
  for (const name of [
    "machine-id",
    "ssh_host_rsa_key",
    "hostname",
    "firstboot-done",
    "random-seed",
    "ssh/ssh_host_rsa_key",
  ]) {
    mkdirSync(dirname(join(outside, name)), { recursive: true });
    writeFileSync(join(outside, name), "the host's");
  }
  mkdirSync(root);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    if (text.startsWith("->")) symlinkSync(text.slice(2).replace("OUTSIDE", outside), join(root, path));
    else writeFileSync(join(root, path), text);
  }
  return { root, outside };
}

function everything(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .toSorted()
    .map((path) => {
      const at = join(folder, path);
      return lstatSync(at).isFile() ? `${path}: ${readFileSync(at, "utf8")}` : path;
    });
}

const MACHINE = {
  "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
  "etc/hostname": "web-01\n",
  "etc/hosts": "127.0.1.1 web-01\n",
  "etc/ssh/ssh_host_rsa_key": "secret",
  "etc/ssh/ssh_host_rsa_key.pub": "public",
  "etc/ssh/ssh_host_xyz_key": "secret",
  "etc/ssh/sshd_config": "kept",
  "etc/netclient/a/b": "secret",
  "etc/netmaker/join-key": "secret",
  "var/lib/dbus/machine-id": "->/etc/machine-id",
  "var/lib/systemd/random-seed": "secret",
  "var/lib/systemd/credential.secret": "secret",
  "var/lib/systemd/timers/x": "kept",
  "var/lib/opdbus/firstboot-done": "",
  "root/etc/machine-id": "kept",
  "srv/ssh_host_rsa_key": "kept",
};

test("what tells one machine from another goes, and nothing else; the machine id is emptied", async () => {
  const { root, outside } = treeOf(MACHINE);
  const before = everything(outside);
  expect(await wasStarted(host, root)).toBe(true);
  expect(await forgetIdentity(host, root)).toBe(true);
  expect(everything(root).filter((line) => line.includes(": "))).toEqual([
    "etc/hosts: 127.0.1.1 web-01\n",
    "etc/machine-id: ",
    "etc/ssh/sshd_config: kept",
    "root/etc/machine-id: kept",
    "srv/ssh_host_rsa_key: kept",
    "var/lib/systemd/timers/x: kept",
  ]);
  expect(lstatSync(join(root, "etc/machine-id")).mode & 0o777).toBe(0o444);
  expect(existsSync(join(root, "etc/netclient"))).toBe(false);
  expect(everything(outside)).toEqual(before);
  // and of one that has none there is nothing to take
  expect(await wasStarted(host, root)).toBe(false);
  expect(await forgetIdentity(host, root)).toBe(false);
});

test("a host name goes alone, with the mark that lets the first start write another", async () => {
  const { root } = treeOf(MACHINE);
  const before = everything(root);
  await forgetHostName(host, root);
  const gone = before.filter((line) => !everything(root).includes(line));
  expect(gone).toEqual(["etc/hostname: web-01\n", "var/lib/opdbus/firstboot-done: "]);
});

test.each([
  ["the machine id is a link", { "etc/machine-id": "->OUTSIDE/machine-id" }],
  ["host keys are links", { "etc/ssh/ssh_host_rsa_key": "->OUTSIDE/ssh_host_rsa_key" }],
  ["/etc is a link", { etc: "->OUTSIDE" }],
  ["/etc/ssh is a link", { "etc/ssh": "->OUTSIDE/ssh" }],
  ["/etc/netclient is a link", { "etc/netclient": "->OUTSIDE" }],
  ["a folder to be removed holds links", { "etc/netclient/all": "->OUTSIDE" }],
  ["/var is a link", { var: "->OUTSIDE" }],
  ["/var/lib/systemd is a link", { "var/lib/systemd": "->OUTSIDE" }],
  ["a link leads up", { "etc/ssh": "->../../outside/ssh" }],
  ["the machine id is a folder", { "etc/machine-id/inner": "->OUTSIDE" }],
  ["names have line breaks and options", { "etc/ssh/ssh_host_\n-rf": "x", "etc/ssh/ssh_host_ *": "x" }],
])("nothing outside is touched where %s", async (_, files) => {
  const { root, outside } = treeOf(files);
  const before = everything(outside);
  const behindLink = Object.keys(files).some((path) => /^(etc|etc\/ssh|var|var\/lib\/systemd)$/.test(path));
  await wasStarted(host, root);
  const forgotten = forgetIdentity(host, root);
  if (behindLink) await expect(forgotten).rejects.toThrow(/alone: \/\S+ lies behind a link$/);
  else expect(await forgotten).toBe(false);
  await forgetHostName(host, root);
  expect(everything(outside)).toEqual(before);
  if (behindLink) return;
  for (const path of Object.keys(files)) {
    if (path === "etc/machine-id") expect(lstatSync(join(root, path))).toMatchObject({ size: 0, nlink: 1 });
    else expect(existsSync(join(root, path))).toBe(false);
  }
});

test("a root file system that is none is told", async () => {
  const { root } = treeOf({});
  await expect(forgetIdentity(host, join(root, "missing"))).rejects.toThrow(/take the identity out of .*No such file/);
});
