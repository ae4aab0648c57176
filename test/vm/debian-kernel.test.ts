import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startVm, type Vm } from "../../lab/vm/vm.ts";

// What a lab node cannot show, since it runs on this machine's kernel: AppArmor and limits in force, as on every real host.
describe("on Debian's own kernel, with AppArmor and cgroup controllers", () => {
  let vm: Vm | undefined;

  beforeAll(async () => {
    vm = await startVm("trixie");
  });
  afterAll(() => vm?.stop());

  const run = (...argv: string[]) => vm!.run(argv);
  const sh = async (script: string) => (await run("sh", "-c", script)).stdout;

  test("nothing is left to do, and nothing is wrong", async () => {
    expect(await sh("cat /sys/module/apparmor/parameters/enabled")).toBe("Y\n");
    expect(await run("opdbus-pve", "install", "--dry-run", "--exit-code")).toMatchObject({ exitCode: 0 });
    expect(await run("op-dbus", "doctor")).toMatchObject({ exitCode: 0 });
  });

  test("a container comes up with every limit in force", async () => {
    const limits = ["--cores", "1", "--memory", "256", "--swap", "0"];
    const made = await run(
      "op-dbus",
      "container",
      "create",
      "web-01",
      "--network",
      "none",
      ...limits,
      "--onboot",
      "--wait",
    );
    expect(made).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/web-01: running\n$/) });
    expect(made.stderr).not.toContain("not in force");
    expect(JSON.parse(await sh("op-dbus container show web-01 --json")).limits_not_in_force).toEqual([]);
    expect(await sh("op-dbus container exec web-01 -- systemctl --failed --no-legend --plain")).toBe("");
    expect(
      await sh("op-dbus container exec web-01 -- journalctl --priority=err --no-pager -o cat | sort | uniq -c"),
    ).toBe("");
    const group = "/sys/fs/cgroup$(cut -d: -f3 /proc/$(lxc-info -n web-01 -p -H)/cgroup)";
    expect(await sh(`cd ${group}/..; cat memory.max memory.swap.max cpu.max`)).toBe("268435456\n0\n100000 100000\n");
    const hungry = "head -c 400M /dev/zero | tail -c 400M >/dev/null; echo $?";
    expect(await sh(`op-dbus container exec web-01 -- sh -c '${hungry}'`)).toBe("137\n");
  });

  test("it is confined by a profile of its own, as root of its own ids", async () => {
    expect(await sh("cat /proc/$(lxc-info -n web-01 -p -H)/attr/current")).toMatch(/^lxc-web-01_.*\(enforce\)$/m);
    expect(await sh("cat /proc/$(lxc-info -n web-01 -p -H)/uid_map")).toMatch(/^ *0 +100000 +65536\n$/);
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

  test("after a reboot it is up by itself, on its pool", async () => {
    await vm!.reboot();
    expect(await sh("op-dbus container list")).toMatch(/web-01 +running/);
    expect(await run("op-dbus", "audit", "verify")).toMatchObject({ exitCode: 0 });
    expect(await run("op-dbus", "container", "destroy", "web-01", "--force", "--yes")).toMatchObject({ exitCode: 0 });
  });
});
