import { createHash } from "node:crypto";
import { cpSync, readFileSync, rmSync } from "node:fs";
import { appendFile, cp, mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { listLoopDevices } from "../../lab/disk.ts";
import type { Suite } from "../../lab/image.ts";
import { type LabNode, startNode, stopNode } from "../../lab/node.ts";
import { bringDeb, buildLabDeb, LAB_SETTINGS } from "../../lab/program.ts";
import { buildDeb } from "../../packaging/build-deb.ts";
import { atTerminal } from "./at-terminal.ts";

const SUITES: readonly Suite[] = ["bookworm", "trixie"];
const FIXTURES = join(import.meta.dirname, "../../fixtures/installed");
const NEXT = "99.0.0";

/** The package as it is handed out, and one of a later version that ships other settings. */
let deb: string;
let later: string;
let work: string;

beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), "opdbus-package-"));
  later = await withOtherSettings(await buildLabDeb(NEXT));
  const options = { sourceDateEpoch: 1_800_000_000, compression: "xz", folder: "lab" } as const;
  const first = digestOf(await buildDeb(options));
  const built = await buildDeb(options);
  deb = join(work, basename(built));
  cpSync(built, deb);
  expect(digestOf(deb), "two builds, one digest").toBe(first);
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

function digestOf(path: string): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

async function withOtherSettings(original: string): Promise<string> {
  const folder = join(work, "later");
  await execa("dpkg-deb", ["--raw-extract", original, folder]);
  const settings = "usr/lib/opdbus-pve/opdbus.toml";
  await appendFile(join(folder, settings), "# a word of the next version\n");
  const md5 = createHash("md5")
    .update(readFileSync(join(folder, settings)))
    .digest("hex");
  const sums = join(folder, "DEBIAN/md5sums");
  await writeFile(
    sums,
    (await readFile(sums, "utf8")).replace(new RegExp(`^.*  ${settings}$`, "m"), `${md5}  ${settings}`),
  );
  const path = join(work, `opdbus-pve_${NEXT}_amd64.deb`);
  await execa("dpkg-deb", ["--root-owner-group", "-Znone", "--build", folder, path]);
  return path;
}

describe.each(SUITES)("on a bare %s host, which has no Node.js and none of our dependencies", (suite) => {
  let node: LabNode;
  const name = `package-${suite}`;
  const sh = async (script: string) => {
    const { exitCode, stdout, stderr } = await node.run(["sh", "-ec", script]);
    if (exitCode !== 0) throw new Error(`${script}\nexited with ${exitCode}:\n${stdout}${stderr}`);
    return stdout;
  };
  const apt = (...argv: string[]) => node.run(["apt-get", "--yes", "-qq", ...argv]);
  /** What a removal must leave alone: links, addresses and rules; mounts; containers and whether they run. */
  const surroundings = () =>
    sh(
      // lxcbr0 is of Debian's lxc
      "ip -br addr | grep -v lxcbr0; findmnt -rno TARGET,SOURCE | grep -v credentials | sort; ls -A /var/lib/lxc 2>/dev/null || true; lxc-ls --running 2>/dev/null || true; find /var/lib/op-dbus -xdev -maxdepth 2 2>/dev/null | sort",
    );

  beforeAll(async () => {
    node = await startNode({ name, suite, bare: true });
    await sh("apt-get update -qq");
  });
  afterAll(() => stopNode(name));

  test("it lacks what the package must bring, or name", async () => {
    expect(await sh("command -v node npm lxc-start btrfs mmdebstrap || true")).toBe("");
  });

  test("the package alone changes nothing but its own files", async () => {
    const before = await surroundings();
    const installed = await apt("install", "--no-install-recommends", await bringDeb(node, deb));
    expect(installed).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining("what makes this host a node is: opdbus-pve install"),
    });
    expect(
      await sh("find /usr/local -type f; ls -d /var/lib/op-dbus /etc/opdbus/opdbus.toml 2>&1 | grep -v cannot || true"),
    ).toBe("");
    expect(await surroundings()).toBe(before);
    expect(await sh("systemctl is-system-running; getent group opdbus | cut -d: -f1; dpkg --verify opdbus-pve")).toBe(
      "running\nopdbus\n",
    );
  });

  test("with one more command it is a node, and containers come up", async () => {
    const installed = await node.run(["opdbus-pve", "install", "--yes", "--pool-size", "4G"]);
    expect(installed).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("operation-dbus node now") });
    const made = await node.run([
      "op-dbus",
      "container",
      "create",
      "web-01",
      "--network",
      "none",
      "--onboot",
      "--wait",
    ]);
    expect(made).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/web-01: running\n$/) });
    expect(await node.run(["op-dbus", "doctor"])).toMatchObject({ exitCode: 0 });
  });

  test("every shell completes commands and names", async () => {
    expect(await apt("install", "--no-install-recommends", "zsh", "fish", "bsdutils")).toMatchObject({ exitCode: 0 });
    const bash = `. /usr/share/bash-completion/completions/opdbus-pve
      COMP_WORDS=(op-dbus container show ''); COMP_CWORD=3; _op_dbus op-dbus; echo "\${COMPREPLY[@]}"`;
    expect(await node.run(["bash", "-ec", bash])).toMatchObject({ stdout: "web-01\n" });
    expect(await node.run(["fish", "-c", "complete -C 'opdbus-pve container start '"])).toMatchObject({
      stdout: "web-01\n",
    });
    const typed = String.raw`(sleep 1; printf 'autoload -U compinit; compinit -u\r'; sleep 2; printf 'op-dbus container sh\t'; sleep 2; printf '\t'; sleep 2; printf '\rexit\r') |
      script -qc 'zsh -f -i' /dev/null`;
    expect(await sh(typed), "the name is completed, and the command runs").toContain("rootfs");
  });

  test("what was damaged is told, and mended by the package", async () => {
    await sh("echo x >>/usr/lib/opdbus-pve/opdbus.toml");
    const doctor = await node.run(["op-dbus", "doctor"]);
    expect(doctor).toMatchObject({
      exitCode: 4,
      stdout: expect.stringContaining("apt install --reinstall ./opdbus-pve_*.deb"),
    });
    expect(await apt("install", "--reinstall", await bringDeb(node, deb))).toMatchObject({ exitCode: 0 });
    expect(await node.run(["op-dbus", "doctor"])).toMatchObject({ exitCode: 0 });
  });

  test("an upgrade disturbs no container, and keeps what was edited", async () => {
    await sh("echo '# mine' >>/etc/opdbus/opdbus.toml");
    const pid = await sh("lxc-info -n web-01 -p -H");
    const around = await surroundings();
    const upgraded = await apt("install", await bringDeb(node, later));
    expect(upgraded).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("opdbus-pve install") });
    const installed = await node.run(["opdbus-pve", "install", "--yes"]);
    expect(installed).toMatchObject({
      exitCode: 0,
      stderr: expect.stringContaining("opdbus.toml was edited here and is kept"),
    });
    expect(
      await sh("tail -1 /etc/opdbus/opdbus.toml; tail -1 /etc/opdbus/opdbus.toml.opdbus-new; op-dbus --version"),
    ).toBe(`# mine\n# a word of the next version\n${NEXT}\n`);
    expect(JSON.parse(await sh("cat /etc/opdbus/installed"))).toMatchObject({
      version: NEXT,
      upgraded_at: expect.any(String),
    });
    expect(await sh("lxc-info -n web-01 -p -H")).toBe(pid);
    expect(await surroundings()).toBe(around);
    expect(await node.run(["opdbus-pve", "install", "--yes"])).toMatchObject({
      stdout: expect.stringContaining("Nothing to do"),
    });
  });

  test("removed, it leaves containers running, also over a boot; installed again, all is known", async () => {
    const around = await surroundings();
    const pid = await sh("lxc-info -n web-01 -p -H");
    expect(await apt("remove", "opdbus-pve")).toMatchObject({ exitCode: 0 });
    expect(await sh("lxc-info -n web-01 -p -H")).toBe(pid);
    expect(await surroundings()).toBe(around);
    await node.reboot();
    expect(await sh("systemctl is-system-running --wait; lxc-ls --running")).toMatch(/^running\nweb-01/);
    expect(await apt("install", await bringDeb(node, later))).toMatchObject({ exitCode: 0 });
    expect(await node.run(["opdbus-pve", "install", "--yes"])).toMatchObject({ exitCode: 0 });
    expect(await sh("op-dbus container list; systemctl is-enabled opdbus.service")).toMatch(
      /web-01 +running[^]*\nenabled\n$/,
    );
  });

  test("purged, it keeps the pool and says so; installed again, all is known", async () => {
    const around = await surroundings();
    // from the same disk, which no --one-file-system sees
    await sh("mkdir -p /srv/defs; touch /srv/defs/mine; mount --bind /srv/defs /etc/opdbus/templates.d");
    const mounted = await apt("purge", "opdbus-pve");
    expect(mounted.stdout).toContain("/etc/opdbus is kept, because something is mounted in it");
    await sh("ls /srv/defs/mine /etc/opdbus/opdbus.toml; umount /etc/opdbus/templates.d");
    expect(await apt("install", await bringDeb(node, deb))).toMatchObject({ exitCode: 0 });
    const purged = await apt("purge", "opdbus-pve");
    expect(purged).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining("/var/lib/op-dbus is kept, with the containers"),
    });
    expect(await sh("ls -d /etc/opdbus /var/cache/opdbus-pve 2>&1 || true")).not.toMatch(/^\//m);
    expect(await surroundings()).toBe(around);
    await sh(`mkdir -p /root/handed-out; mv ${await bringDeb(node, deb)} /root/handed-out/`);
    await cp(
      join(import.meta.dirname, "../../install-opdbus.sh"),
      join(node.root, "root/handed-out/install-opdbus.sh"),
    );
    expect(await node.run(["sh", "/root/handed-out/install-opdbus.sh", "--yes"])).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining("operation-dbus node now"),
    });
    expect(await sh("op-dbus container list; op-dbus --version")).toMatch(/web-01 +running[^]*\n0\./);
    expect(await node.run(["op-dbus", "audit", "verify"])).toMatchObject({ exitCode: 0 });
  });

  test.each([
    ["the program", [], "The program is gone.\n", "/etc/opdbus/opdbus.toml\n"],
    ["the program and its settings", ["--settings"], "The program and its settings are gone.\n", ""],
  ])("uninstalled, %s: containers run on, and the record has all of it", async (_, options, said, kept) => {
    const around = await surroundings();
    const pid = await sh("lxc-info -n web-01 -p -H");
    const gone = await node.run(["opdbus-pve", "uninstall", ...options, "--yes"]);
    expect(gone).toMatchObject({ exitCode: 0, stdout: said });
    expect(await sh("lxc-info -n web-01 -p -H")).toBe(pid);
    expect(await surroundings()).toBe(around);
    expect(await sh("ls -d /usr/lib/opdbus-pve /etc/opdbus/opdbus.toml 2>/dev/null || true")).toBe(kept);
    expect(await sh("systemctl is-system-running")).toBe("running\n");
    expect(await apt("install", await bringDeb(node, deb))).toMatchObject({ exitCode: 0 });
    expect(await node.run(["opdbus-pve", "install", "--yes"])).toMatchObject({ exitCode: 0 });
    const log = JSON.parse(
      await sh("op-dbus audit log --operation uninstall_step --target package --lines 99 --json"),
    ) as {
      rows: { id: number; metadata: { status: string; intent?: number } }[];
    };
    const [begun, ended] = log.rows.slice(-2);
    expect([begun?.metadata.status, ended?.metadata.status, ended?.metadata.intent]).toEqual([
      "started",
      "ok",
      begun?.id,
    ]);
    expect(await node.run(["op-dbus", "audit", "verify"])).toMatchObject({ exitCode: 0 });
  });

  test("uninstalled, nothing of ours is left, but only when host and containers were named", async () => {
    const uninstall = (...argv: string[]) => node.run(["opdbus-pve", "uninstall", "--everything", ...argv]);
    expect(await uninstall("--dry-run")).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining("Destroy the container web-01"),
    });
    expect(await uninstall("--yes")).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining("--destroy-containers"),
    });
    expect(await uninstall("--destroy-containers", "--yes")).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining(`--confirm-host ${name}`),
    });
    expect(await uninstall("--destroy-containers", "--confirm-host", "other")).toMatchObject({ exitCode: 2 });
    const command = "opdbus-pve uninstall --everything";
    for (const answers of [
      [["[y/N]", "n"]],
      [
        ["[y/N]", "y"],
        ["Type the name", "other"],
      ],
    ] as const) {
      const asked = await atTerminal(node, command, ...answers);
      expect(asked.exitCode, asked.stdout).toBeGreaterThan(0);
      expect(asked.stdout).toMatch(/There is a container here \(1 running\): web-01/);
    }
    expect(await sh("lxc-ls --running")).toContain("web-01");
    expect(await node.run(["op-dbus", "doctor"]), "nothing was removed").toMatchObject({ exitCode: 0 });

    // not by its WorkingDirectory=, of which systemd knows: it would end the unit with the mount
    await sh("systemd-run --quiet --collect --unit=stays sh -c 'cd /var/lib/op-dbus; exec sleep 600'");
    const busy = await uninstall("--destroy-containers", "--confirm-host", name);
    expect(busy).toMatchObject({
      exitCode: 1,
      stdout: expect.stringMatching(/^This could not be removed:\n {2}subvolumes: /),
    });
    const last = JSON.parse(await sh("op-dbus audit log --target subvolumes --lines 1 --json")) as { rows: unknown[] };
    expect(last.rows[0]).toMatchObject({ operation: "uninstall_step", metadata: { status: "failed" } });
    await sh("systemctl stop stays");

    const gone = await atTerminal(node, command, ["Type the name", name]);
    expect(gone).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/All of it is gone, but for:\s+the system group opdbus/),
    });
    expect(
      await sh(
        `find / -xdev \\( -path /proc -o -path /sys -o -path /tmp -o -path /root -o -path /var/log -o -path /var/cache/apt \\) -prune -o -name '*op*dbus*' -print | sort`,
      ),
    ).toBe("");
    expect(
      await sh(
        "grep -c root /etc/subuid /etc/subgid || true; ls -A /var/lib/lxc; systemctl --failed --no-legend; systemctl is-system-running || true",
      ),
    ).toBe("/etc/subuid:0\n/etc/subgid:0\nrunning\n");
    expect(await listLoopDevices(node.root)).toEqual([]);
  });

  test("lintian finds no error, and no warning that is not explained", async () => {
    expect(await apt("install", "--no-install-recommends", "lintian")).toMatchObject({ exitCode: 0 });
    const found = await node.run(["lintian", "--allow-root", "--fail-on", "error,warning", await bringDeb(node, deb)]);
    expect(found).toMatchObject({ exitCode: 0, stdout: "" });
  });
});

describe.each(["0.1.0-first", "0.1.0-last"])("a host that installed %s without a package", (fixture) => {
  let node: LabNode;
  const sh = async (script: string) => (await node.run(["sh", "-c", script])).stdout;
  const name = "package-old";

  beforeAll(async () => {
    node = await startNode({ name, network: false });
    await cp(join(FIXTURES, fixture), node.root, { recursive: true });
    // the program as it lay then, and what the installation made of links and of the settings
    const tree = fixture === "0.1.0-first" ? "/usr/lib/opdbus-pve" : "/usr/lib/opdbus-pve/current";
    await sh(`
      mkdir -p /usr/lib/opdbus-pve/0.1.0-1 /etc/opdbus/conf.d
      ${fixture === "0.1.0-first" ? "touch /usr/lib/opdbus-pve/tree.json" : "ln -s 0.1.0-1 /usr/lib/opdbus-pve/current; touch /usr/lib/opdbus-pve/0.1.0-1/tree.json"}
      for name in op-dbus opdbus-pve; do echo 'echo old' >${tree}/$name; chmod 755 ${tree}/$name; ln -s ${tree}/$name /usr/local/bin/; done
      systemctl daemon-reload; systemctl enable opdbus.service`);
  });
  afterAll(() => stopNode(name));

  test("whose package cannot be unpacked goes on with what it had", async () => {
    await sh(`mkdir -p /tmp/other/DEBIAN /tmp/other/usr/share/doc/opdbus-pve
      printf 'Package: other\\nVersion: 1\\nArchitecture: all\\nMaintainer: x <x@y.z>\\nDescription: x\\n' >/tmp/other/DEBIAN/control
      touch /tmp/other/usr/share/doc/opdbus-pve/copyright; dpkg-deb --build /tmp/other /root/other.deb; dpkg -i /root/other.deb`);
    const before = await sh("find /usr/lib/opdbus-pve /etc/opdbus /etc/systemd /usr/local/bin | sort");
    const refused = await node.run(["dpkg", "--install", await bringDeb(node, deb)]);
    expect(refused).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("trying to overwrite") });
    expect(await sh("op-dbus --version")).toBe("old\n");
    await sh(`rm ${LAB_SETTINGS}`);
    expect(await sh("find /usr/lib/opdbus-pve /etc/opdbus /etc/systemd /usr/local/bin | sort")).toBe(before);
    expect(await sh("dpkg --purge other; dpkg --audit; ls -d /usr/lib/opdbus-pve.*")).not.toContain("opdbus-pve");
  });

  test("whose package never became whole gets its program back", async () => {
    const path = await bringDeb(node, deb);
    const before = await sh("find /usr/lib/opdbus-pve /etc/systemd /usr/local/bin | sort");
    expect(await sh(`dpkg --unpack ${path} >/dev/null; ls /usr/lib/opdbus-pve`)).toContain("native");
    expect(await sh("dpkg --remove opdbus-pve; op-dbus --version")).toMatch(/0\.1\.0 is back\nold\n$/);
    expect(await sh("find /usr/lib/opdbus-pve /etc/systemd /usr/local/bin | sort")).toBe(before);
    // so dpkg calls it after it was killed in the middle
    await sh(`dpkg --control ${path} /root/control; sh /root/control/preinst upgrade 0.2.0 0.2.0`);
    expect(await sh("ls -d /usr/lib/opdbus-pve*")).toBe("/usr/lib/opdbus-pve.before-package\n");
    expect(await sh("sh /root/control/postrm abort-upgrade 0.2.0 0.2.0; op-dbus --version")).toMatch(/old\n$/);
  });

  test("is taken over: nothing old hides the new, and it is one upgrade", async () => {
    expect(await sh("op-dbus --version")).toBe("old\n");
    const path = await bringDeb(node, deb);
    await appendFile(join(node.root, LAB_SETTINGS), "[templates]\ninstall = []\n");
    expect(await node.run(["apt-get", "install", "--yes", path])).toMatchObject({ exitCode: 0 });
    expect(await sh("op-dbus --version")).toMatch(/^\d+\.\d+\.\d+\n$/);
    expect(await sh("find /usr/local/bin /etc/systemd/system -name '*op*dbus*' -printf '%p %l\\n'")).toBe(
      "/etc/systemd/system/multi-user.target.wants/opdbus.service /usr/lib/systemd/system/opdbus.service\n",
    );
    expect(await sh("ls /usr/lib/opdbus-pve; ls -d /usr/lib/opdbus-pve.*")).not.toMatch(/current|0\.1\.0|before/);
    const installed = await node.run(["opdbus-pve", "install", "--yes", "--pool-size", "1G"]);
    expect(installed).toMatchObject({
      exitCode: 0,
      stderr: expect.stringContaining("with version 0.1.0 on 2026-11-25"),
    });
    expect(JSON.parse(await sh("cat /etc/opdbus/installed"))).toMatchObject({
      installed_at: "2026-11-25T12:34:17.292Z",
      upgraded_at: expect.any(String),
    });
    expect(await sh("ls /etc/opdbus; systemctl is-enabled opdbus.service; systemctl is-active opdbus.service")).toBe(
      "conf.d\ndeployment-type\ninstalled\nopdbus.toml\ntemplates.d\nenabled\nactive\n",
    );
  });
});
