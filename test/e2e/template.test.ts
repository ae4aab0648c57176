import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { checkout } from "../../lab/paths.ts";
import { type LabNode, stopNode } from "../../lab/node.ts";
import { startInstalledNode } from "../../lab/program.ts";

const TEMPLATES = "/var/lib/op-dbus/@templates";

describe("templates on an installed node", () => {
  let node: LabNode;

  beforeAll(async () => {
    node = await startInstalledNode("templates");
    await mkdir(join(node.root, "etc/opdbus/templates.d"), { recursive: true });
  });
  afterAll(() => stopNode("templates"));

  const op = (...argv: string[]) => node.run(["op-dbus", ...argv]);
  const sh = async (script: string) => (await node.run(["sh", "-c", script])).stdout;
  const traces = () =>
    sh(
      `ls -A ${TEMPLATES} ${TEMPLATES}/*/versions ${TEMPLATES}/* /var/lib/opdbus-pve/build 2>/dev/null | grep -v '^/var/lib/opdbus-pve'; btrfs subvolume list -o ${TEMPLATES}; pgrep -l mmdebstrap`,
    );
  /** A definition of its own, made from the shipped one. */
  const define = async (name: string, change: (text: string) => string) => {
    const shipped = await readFile(join(checkout, "templates/debian-base.toml"), "utf8");
    await writeFile(join(node.root, `etc/opdbus/templates.d/${name}.toml`), change(shipped));
  };

  test("hold no secret and no identity: looked for in the whole tree", async () => {
    const rootfs = `${TEMPLATES}/debian-base/rootfs/`;
    expect(
      await sh(
        `find ${rootfs} \\( -name 'ssh_host_*' -o -name 'join-key' -o -name 'netclient*' -o -name '*.pem' -path '*/private/*' -o -name random-seed -o -name 'id_*' -path '*/.ssh/*' -o -name authorized_keys \\)`,
      ),
    ).toBe("");
    expect(
      await sh(
        `grep -rlE -e '-----BEGIN [A-Z ]*PRIVATE KEY-----' ${rootfs}etc ${rootfs}root ${rootfs}home ${rootfs}var ${rootfs}srv ${rootfs}opt`,
      ),
    ).toBe("");
    expect(
      await sh(
        `stat -c %s ${rootfs}etc/machine-id; ls ${rootfs}etc/hostname ${rootfs}etc/resolv.conf ${rootfs}var/lib/dbus/machine-id 2>/dev/null; ls -A ${rootfs}dev ${rootfs}tmp`,
      ),
    ).toMatch(/^0\n\S+dev:\n\n\S+tmp:\n$/);
    expect(await sh(`awk -F: '$2 ~ /^[$]/' ${rootfs}etc/shadow`)).toBe("");
    expect(JSON.parse(await sh(`cat ${rootfs}etc/opdbus/template.json`))).toMatchObject({
      schema: 1,
      name: "debian-base",
    });
    for (const file of [
      "etc/systemd/system/socket-network.service",
      "etc/systemd/system/netmaker-enroll.service",
      "sbin/ifup",
      "sbin/dhclient",
    ]) {
      expect(await sh(`test -e ${rootfs}${file} && echo there`)).toBe("there\n");
    }
  });

  test("are listed and shown, to people and to programs", async () => {
    const { templates } = JSON.parse((await op("template", "list", "--json")).stdout);
    expect(templates).toMatchObject([
      { name: "alpine-base", current: null },
      { name: "debian-base", suite: "trixie" },
      { name: "ubuntu-base", current: null },
    ]);
    const [, built] = templates;
    expect(built.versions).toEqual([built.current]);
    expect((await op("template", "list")).stdout).toMatch(/^debian-base +\d{8}T\d{6}Z +trixie +\d+ MiB +1$/m);
    const shown = JSON.parse((await op("template", "show", "debian-base", "--json")).stdout);
    expect(shown).toMatchObject({ version: built.current, digest: built.digest });
    expect((await op("template", "show", "debian-base", "--packages")).stdout).toMatch(/^systemd +257/m);
    const status = await op("status");
    expect(status.stdout).toContain(`templates: debian-base ${built.current}\ncontainers: 0, 0 running\n`);
  });

  test("are sealed, and a change shows", async () => {
    expect(await op("template", "verify", "debian-base")).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining("sealed and unchanged"),
    });
    const rootfs = `$(readlink -f ${TEMPLATES}/debian-base/rootfs)`;
    expect((await node.run(["sh", "-c", `touch ${rootfs}/etc/motd`])).exitCode).not.toBe(0);
    await sh(`btrfs property set ${rootfs} ro false`);
    expect(await op("template", "verify", "debian-base")).toMatchObject({
      exitCode: 5,
      stderr: expect.stringContaining("not sealed"),
    });
    await sh(`chmod 4755 ${rootfs}/usr/bin/env; btrfs property set ${rootfs} ro true`);
    expect(await op("template", "verify", "debian-base")).toMatchObject({
      exitCode: 5,
      stderr: expect.stringContaining("its digest is"),
    });
  });

  test("of one definition and one time stamp are the same twice, and on record with what they are", async () => {
    const build = () =>
      node.run(["op-dbus", "template", "build", "debian-base", "--json"], { env: { SOURCE_DATE_EPOCH: "1795000000" } });
    const [first, second] = [await build(), await build()];
    expect(first).toMatchObject({ exitCode: 0 });
    const [one, two] = [JSON.parse(first.stdout), JSON.parse(second.stdout)];
    expect(two.digest).toBe(one.digest);
    // the same content is the same version
    expect(second.stderr).toContain(`this is version ${one.version} again`);
    expect(two.version).toBe(one.version);
    const { rows } = JSON.parse((await op("audit", "log", "--lines", "1", "--json")).stdout);
    expect(rows[0]).toMatchObject({
      operation: "template_build",
      metadata: { status: "ok", version: one.version, digest: one.digest, pruned: [] },
    });
    expect(await sh(`ls -A ${TEMPLATES}/debian-base`)).not.toContain(".new-");
    expect((await op("template", "verify", "debian-base")).exitCode).toBe(0);
  });

  test("can be Debian 12, from which a container boots", async () => {
    expect(await op("template", "build", "debian-base", "--suite", "bookworm")).toMatchObject({ exitCode: 0 });
    await op("container", "create", "old", "--network", "none", "--wait");
    expect(
      (
        await op(
          "container",
          "exec",
          "old",
          "--",
          "sh",
          "-c",
          ". /etc/os-release; echo $VERSION_CODENAME; systemctl is-system-running",
        )
      ).stdout,
    ).toBe("bookworm\nrunning\n");
    await op("container", "destroy", "old", "--force", "--yes");
    expect(await op("template", "build", "debian-base", "--suite", "sid")).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining("trixie, bookworm"),
    });
  });

  test("take users, keys, time zone and commands from an admin's own definition", async () => {
    await define(
      "own",
      (text) =>
        `root_ssh_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeFakeFakeFakeFakeFakeFakeFakeFakeFakeFake root@example"]\ncommands = ["echo built >/etc/built"]\n${text
          .replace('timezone = "Etc/UTC"', 'timezone = "Europe/Vienna"')
          .replace('locale = "C.UTF-8"', 'locale = "de_AT.UTF-8"')
          .replace(
            "\n[units]",
            '\n[[users]]\nname = "ops"\nssh_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeFakeFakeFakeFakeFakeFakeFakeFakeFakeFake ops@example"]\n\n[units]',
          )}`,
    );
    expect(await op("template", "build", "own")).toMatchObject({ exitCode: 0 });
    const rootfs = `${TEMPLATES}/own/rootfs/`;
    expect(
      await sh(
        `cat ${rootfs}etc/built ${rootfs}etc/timezone ${rootfs}etc/default/locale; localedef --list-archive ${rootfs}usr/lib/locale/locale-archive; readlink ${rootfs}etc/localtime; stat -c '%a %u' ${rootfs}root/.ssh ${rootfs}root/.ssh/authorized_keys ${rootfs}home/ops/.ssh/authorized_keys`,
      ),
    ).toBe(
      "built\nEurope/Vienna\nLANG=de_AT.UTF-8\nde_AT.utf8\n/usr/share/zoneinfo/Europe/Vienna\n700 0\n600 0\n600 1000\n",
    );
    const withOwn = ["--", "--template", "own", "--network", "none"];
    expect(await node.run(["lxc-create", "-t", "op-dbus", "-n", "mine", ...withOwn])).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining("mine: created from own "),
    });
    await op("container", "destroy", "mine", "--yes");
    expect(await op("template", "remove", "own", "--yes")).toMatchObject({ exitCode: 0 });
    expect(await sh(`ls ${TEMPLATES}`)).toBe("debian-base\n");
  });

  test("whose definition is wrong are refused with file, line and what is allowed", async () => {
    await define("typo", (text) => text.replace("timezone =", "time_zone ="));
    expect(await op("template", "build", "typo")).toMatchObject({
      exitCode: 2,
      stderr: expect.stringMatching(/typo\.toml:\n +line \d+: time_zone: unknown key/),
    });
    expect(await op("template", "build", "nope")).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining("known: "),
    });
    expect(await op("template", "build", "../etc")).toMatchObject({ exitCode: 2 });
  });

  test("that cannot be built leave no trace and say why", async () => {
    const before = await traces();
    await define("broken", (text) => `commands = ["echo before", "no-such-command --now"]\n${text}`);
    expect(await op("template", "build", "broken")).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining("no-such-command: not found"),
    });
    await define("missing", (text) => text.replace('"tzdata",', '"tzdata", "no-such-package",'));
    expect(await op("template", "build", "missing")).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining("no-such-package"),
    });
    await sh(`printf '[templates]\\nmirror = "http://127.0.0.1:9/debian"\\n' >/etc/opdbus/conf.d/mirror.toml`);
    expect(await op("template", "build", "debian-base")).toMatchObject({
      exitCode: 1,
      stderr: expect.stringMatching(/the mirrors were: .*127\.0\.0\.1:9[\s\S]*mirror = /),
    });
    await sh("rm /etc/opdbus/conf.d/mirror.toml");
    expect(await sh(`ls -A ${TEMPLATES}/broken/versions ${TEMPLATES}/missing/versions 2>/dev/null`)).not.toMatch(
      /\d{8}T/,
    );
    expect(await traces()).toBe(before);
  });

  test("that meet a full pool or Ctrl-C leave no trace", async () => {
    const before = await traces();
    const full = await node.spawn(["op-dbus", "template", "build", "debian-base"]);
    await sh(
      `timeout 60 sh -c "until ls ${TEMPLATES}/debian-base/.new-*/rootfs >/dev/null 2>&1; do sleep 0.1; done"; sleep 3`,
    );
    await sh("fallocate -l $(($(stat -f -c '%a * %S' /var/lib/op-dbus) - 4194304)) /var/lib/op-dbus/fill");
    const failed = await full.done;
    const refused = await op("template", "build", "debian-base");
    await sh("rm /var/lib/op-dbus/fill; sync -f /var/lib/op-dbus");
    expect(failed).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(/No space left/) });
    expect(refused).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("the disk is full") });
    expect(await traces()).toBe(before);

    const stopped = await node.spawn(["op-dbus", "template", "build", "debian-base"]);
    await sh("timeout 60 sh -c 'until pgrep mmdebstrap >/dev/null; do sleep 0.1; done'; sleep 2");
    await stopped.kill("SIGINT");
    expect((await stopped.done).exitCode).toBe(130);
    expect(await traces()).toBe(before);
  });

  test("whose build was killed are cleared away by the next, and nothing of it goes on running", async () => {
    const before = await traces();
    for (const waitSeconds of [1, 6]) {
      const killed = await node.spawn(["op-dbus", "template", "build", "debian-base"]);
      await sh(`timeout 60 sh -c 'until pgrep mmdebstrap >/dev/null; do sleep 0.1; done'; sleep ${waitSeconds}`);
      await killed.kill("SIGKILL");
      await killed.done;
      expect(await sh("sleep 0.5; pgrep -l 'mmdebstrap|dpkg|apt-get'; grep -c opdbus-pve/build /proc/mounts")).toBe(
        "0\n",
      );
    }
    expect((await op("template", "verify", "debian-base")).exitCode).toBe(0);
    const next = await op("template", "build", "debian-base");
    expect(next).toMatchObject({
      exitCode: 0,
      stderr: expect.stringContaining("which a build that was cut off had left"),
    });
    expect(await sh(`ls -A ${TEMPLATES}/debian-base /var/lib/opdbus-pve/build`)).not.toContain(".new-");
    expect(before).not.toContain(".new-");
    expect(await op("audit", "verify")).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("unfinished") });
  });
});
