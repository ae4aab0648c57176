import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Suite } from "../../lab/image.ts";
import { TEMPLATE_ARCHIVE } from "../../lab/vm/disk.ts";
import { startVm, type Vm } from "../../lab/vm/vm.ts";

const SUITES: readonly Suite[] = ["bookworm", "trixie"];

// What a lab node cannot show, since it runs on this machine's kernel: AppArmor and limits in force, as on every real host.
describe.each(SUITES)("a stock %s, on Debian's own kernel", (suite) => {
  let vm: Vm | undefined;

  beforeAll(async () => {
    vm = await startVm(suite);
  });
  afterAll(() => vm?.stop());

  const run = (...argv: string[]) => vm!.run(argv);
  const sh = async (script: string) => (await run("sh", "-c", script)).stdout;
  const CONTAINERS = ["web-01", "db-01"];

  test("becomes a node by the package and one command", async () => {
    expect(await sh("cat /sys/module/apparmor/parameters/enabled; stat -fc %T /sys/fs/cgroup")).toBe("Y\ncgroup2fs\n");
    expect(await run("sh", "-c", "apt-get install --yes --no-install-recommends /root/opdbus-pve_*.deb")).toMatchObject(
      { exitCode: 0 },
    );
    // no network, no mirror: the template comes as an archive
    await sh("mkdir -p /etc/opdbus/conf.d; printf '[templates]\\ninstall = []\\n' >/etc/opdbus/conf.d/vm.toml");
    expect(await run("opdbus-pve", "install", "--yes", "--pool-size", "4G")).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining("operation-dbus node now"),
    });
    expect(await run("op-dbus", "template", "import", TEMPLATE_ARCHIVE, "--name", "debian-base")).toMatchObject({
      exitCode: 0,
    });
    expect(await run("op-dbus", "doctor")).toMatchObject({ exitCode: 0 });
  });

  test("two containers come up with every limit in force", async () => {
    const limits = ["--cores", "1", "--memory", "256", "--swap", "0"];
    const options = ["--network", "none", ...limits, "--onboot", "--wait"];
    const made = await run("op-dbus", "container", "create", ...CONTAINERS, ...options);
    expect(made).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/web-01: running\ndb-01: running\n$/) });
    expect(made.stderr).not.toContain("not in force");
    for (const name of CONTAINERS) {
      expect(JSON.parse(await sh(`op-dbus container show ${name} --json`)).limits_not_in_force).toEqual([]);
      expect(await sh(`op-dbus container exec ${name} -- systemctl --failed --no-legend --plain`)).toBe("");
      const group = `/sys/fs/cgroup$(cut -d: -f3 /proc/$(lxc-info -n ${name} -p -H)/cgroup)`;
      expect(await sh(`cd ${group}/..; cat memory.max memory.swap.max cpu.max`)).toBe("268435456\n0\n100000 100000\n");
    }
    expect(
      await sh("op-dbus container exec web-01 -- journalctl --priority=err --no-pager -o cat | sort | uniq -c"),
    ).toBe("");
    const hungry = "head -c 400M /dev/zero | tail -c 400M >/dev/null; echo $?";
    expect(await sh(`op-dbus container exec web-01 -- sh -c '${hungry}'`)).toBe("137\n");
  });

  test("each is confined by a profile of its own, as root of its own ids", async () => {
    for (const name of CONTAINERS) {
      const process = `/proc/$(lxc-info -n ${name} -p -H)`;
      expect(await sh(`cat ${process}/attr/current`)).toMatch(new RegExp(`^lxc-${name}_.*\\(enforce\\)$`, "m"));
      expect(await sh(`cat ${process}/uid_map`)).toMatch(/^ *0 +100000 +65536\n$/);
    }
    expect(await sh("dmesg | grep -c DENIED")).toBe("0\n");
  });

  test("halted from inside or from outside, it leaves a host with nothing failed", async () => {
    await sh(
      "op-dbus container exec web-01 -- systemctl poweroff; while systemctl -q is-active lxc@web-01; do sleep 1; done",
    );
    expect(await sh("systemctl is-system-running")).toBe("running\n");
    expect(await run("op-dbus", "container", "start", "web-01", "--wait")).toMatchObject({
      stdout: "web-01: running\n",
    });
    expect(await run("op-dbus", "container", "stop", "web-01")).toMatchObject({ stdout: "web-01: stopped\n" });
    expect(await sh("systemctl is-system-running")).toBe("running\n");
  });

  test("without AppArmor's parser the reason is told, by the start and by doctor, and nothing is left failed", async () => {
    await sh("mv /usr/sbin/apparmor_parser /root/");
    const started = await run("op-dbus", "container", "create", "bare", "--network", "none", "--start");
    const doctor = await run("op-dbus", "doctor");
    await sh("mv /root/apparmor_parser /usr/sbin/");
    expect(started).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("apparmor_parser") });
    expect(doctor).toMatchObject({ exitCode: 4, stdout: expect.stringContaining("apt-get install") });
    await run("op-dbus", "container", "destroy", "bare", "--yes");
    expect(await sh("systemctl is-system-running")).toBe("running\n");
  });

  test("after a reboot everything is up by itself, and a second installation changes nothing", async () => {
    await vm!.reboot();
    expect(await sh("op-dbus container list")).toMatch(/db-01 +running[^]*web-01 +running/);
    expect(await run("op-dbus", "audit", "verify")).toMatchObject({ exitCode: 0 });
    // whoever looks at the record opens its database
    const files = () =>
      sh(
        "find /etc /usr/lib/opdbus-pve /var/lib/op-dbus/@* -maxdepth 2 -path '*/@timing*' -prune -o -printf '%p %T@ %s\\n' | sort",
      );
    const before = await files();
    expect(await run("opdbus-pve", "install", "--yes")).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining("Nothing to do"),
    });
    expect(await files()).toBe(before);
  });

  test("uninstalled, nothing is left of it", async () => {
    const named = ["--destroy-containers", "--confirm-host", "vm"];
    expect(await run("opdbus-pve", "uninstall", "--everything", ...named)).toMatchObject({ exitCode: 0 });
    expect(await sh("ls -d /var/lib/op-dbus /var/lib/opdbus-pve /etc/opdbus /usr/bin/op-dbus 2>/dev/null")).toBe("");
    expect(await sh("losetup --list; systemctl is-system-running")).toBe("running\n");
  });
});
