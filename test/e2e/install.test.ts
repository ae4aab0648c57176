import { appendFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { listLoopDevices } from "../../lab/disk.ts";
import { type LabNode, startNode, stopNode } from "../../lab/node.ts";
import { LAB_SETTINGS, packagedLayer } from "../../lab/program.ts";
import { atTerminal } from "./at-terminal.ts";

const POOL = "/var/lib/op-dbus";
const IMAGE = "/var/lib/opdbus-pve/pool.img";

const INSTALL = ["--yes", "--pool-size", "2G"] as const;

describe("opdbus-pve install on a fresh host", () => {
  let layer: string;
  let node: LabNode;

  beforeAll(async () => {
    layer = await packagedLayer("trixie");
  });
  afterEach(() => stopNode("install"));
  afterAll(() => stopNode("install"));

  const fresh = async () => {
    node = await startNode({ name: "install", layer, network: false });
    // a template takes half a minute, and has tests of its own
    await appendFile(join(node.root, LAB_SETTINGS), "[templates]\ninstall = []\n");
  };
  const install = (...argv: string[]) => node.run(["opdbus-pve", "install", ...argv]);
  const sh = async (script: string) => (await node.run(["sh", "-c", script])).stdout;
  /** Every file that an installation may touch: path, type, mode, owner, size, and when it was changed. */
  const files = (when = true) =>
    sh(
      `find /etc /var/lib/op-dbus /var/lib/opdbus-pve /usr/lib/opdbus-pve /var/lib/lxc /var/cache \\
        -path ${POOL}/@timing -prune -o -path /var/cache/opdbus-pve -prune -o -printf '%p %y %m %U:%G %s ${when ? "%T@" : ""}\\n' 2>/dev/null | sort`,
    );

  test("the plan changes nothing, and a script can ask whether there is anything to do", async () => {
    await fresh();
    const before = await files();
    const plan = await install("--dry-run", "--exit-code", ...INSTALL);
    expect(plan).toMatchObject({ exitCode: 4, stderr: "" });
    expect(plan.stdout).toContain("+ Create a BTRFS file system of 2 GiB in the sparse file");
    expect(plan.stdout).toContain("not yet: the bridge ovsbr0");
    expect(await files()).toBe(before);
    const asked = await install("--pool-size", "2G");
    expect(asked).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("--yes") });
    expect(await files()).toBe(before);
  });

  test("makes an installed node; a second run changes not one file", async () => {
    await fresh();
    expect(await install(...INSTALL)).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining("operation-dbus node now"),
    });
    expect(JSON.parse(await sh("cat /etc/opdbus/installed"))).toMatchObject({
      version: expect.any(String),
      installed_at: expect.any(String),
      upgraded_at: null,
    });
    expect(await sh("cat /etc/opdbus/deployment-type")).toBe("traditional\n");
    expect(
      await sh(`findmnt -no FSTYPE ${POOL}; systemctl is-enabled opdbus.service; systemctl is-active opdbus.service`),
    ).toBe("btrfs\nenabled\nactive\n");
    expect(
      (await sh("btrfs subvolume list /var/lib/op-dbus | sed 's/.* path //' | grep -v '^@snapshots/.*' | sort"))
        .split("\n")
        .filter(Boolean),
    ).toEqual([
      "@cache",
      "@containers",
      "@plugins",
      "@plugins/lxc",
      "@plugins/netmaker",
      "@plugins/ovs",
      "@plugins/systemd",
      "@snapshots",
      "@state",
      "@templates",
      "@timing",
      "@vectors",
    ]);
    expect(JSON.parse(await sh(`cat ${POOL}/@state/current-state.json`))).toMatchObject({
      version: 1,
      plugins: { lxc: { containers: [] } },
    });

    // what was done before the audit database existed stands right behind its first row
    const { rows } = JSON.parse(await sh("op-dbus audit log --json"));
    expect(rows.slice(0, 4)).toMatchObject([
      { id: 0, operation: "genesis" },
      { id: 1, operation: "install_step", target: "environment", metadata: { status: "started" } },
      { id: 2, target: "environment", metadata: { status: "ok", intent: 1 } },
      { id: 3, target: "subvolumes", metadata: { status: "started" } },
    ]);
    expect(await sh("op-dbus audit verify | grep -c unfinished")).toBe("0\n");

    const before = await files();
    const count = await sh("op-dbus audit log -n 999 | wc -l");
    const asData = JSON.parse((await install(...INSTALL, "--json")).stdout);
    expect(asData).toMatchObject({ schema: 1, changed: false, lacking: [] });
    expect(asData.steps).toContainEqual({ id: "openvswitch", outcome: "later", changes: [] });
    const { plugins } = JSON.parse(await sh(`cat ${POOL}/@state/current-state.json`));
    expect(plugins).toEqual(JSON.parse(await sh("op-dbus query")).plugins);
    const again = await install(...INSTALL);
    expect(again).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("Nothing to do") });
    expect(await files()).toBe(before);
    expect(await sh("op-dbus audit log -n 999 | wc -l")).toBe(count);
    expect(await install("--dry-run", "--exit-code", ...INSTALL)).toMatchObject({ exitCode: 0 });
  });

  test("a host that lacks something is not marked as installed, and is told what that is", async () => {
    await fresh();
    const part = await install(...INSTALL, "--skip", "audit,program");
    expect(part).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/before this host is a whole node:\n +audit: .*\n +program: .*\n +installed: /),
    });
    expect(await sh("ls /etc/opdbus")).not.toContain("installed");
    expect(await install("--yes", "--only", "installed")).toMatchObject({
      exitCode: 3,
      stderr: expect.stringContaining("audit, program"),
    });
    expect((await install("--yes", "--skip", "installed")).stdout).not.toContain("operation-dbus node now");
    expect((await install("--yes", "--only", "environment")).stdout).toContain(
      "installed: Write /etc/opdbus/installed",
    );
    expect((await install("--yes")).stdout).toContain("operation-dbus node now");
    expect(await sh("ls /etc/opdbus")).toContain("installed");
  });

  test("mends what was broken since, and keeps what an admin changed", async () => {
    await fresh();
    await install(...INSTALL);
    await sh(
      `chmod 777 ${POOL}/@containers; echo '# mine' >>${POOL}/@plugins/lxc/plugin.toml; rmdir ${POOL}/@plugins/ovs/cache; rm /etc/opdbus/opdbus.toml`,
    );
    const doctor = await node.run(["op-dbus", "doctor"]);
    expect(doctor.exitCode).toBe(4);
    for (const found of [
      "Set the mode of @containers to 700",
      "Create @plugins/ovs/cache",
      "Write /etc/opdbus/opdbus.toml",
    ]) {
      expect(doctor.stdout).toContain(found);
    }
    expect((await install(...INSTALL)).exitCode).toBe(0);
    expect(
      await sh(`stat -c %a ${POOL}/@containers; tail -1 ${POOL}/@plugins/lxc/plugin.toml; op-dbus --version`),
    ).toMatch(/^700\n# mine\n\d+\.\d+\.\d+\n$/);
  });

  test("the mount point is closed to everyone, root included, while the pool is not there", async () => {
    await fresh();
    await install(...INSTALL);
    await sh(`systemctl stop opdbus.service; umount ${POOL}`);
    expect((await node.run(["touch", `${POOL}/stray`])).exitCode).not.toBe(0);
    // a host comes up, and containers of others start, also when the image is gone
    await sh(`mv ${IMAGE} ${IMAGE}.away`);
    await node.reboot();
    expect(await sh("systemctl is-active multi-user.target lxc.service 'var-lib-op\\x2ddbus.mount'")).toBe(
      "active\nactive\ninactive\n",
    );
    const refused = await install(...INSTALL);
    expect(refused).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("pool.img is gone") });
    await sh(`mv ${IMAGE}.away ${IMAGE}`);
    expect((await install(...INSTALL)).exitCode).toBe(0);
    expect((await node.run(["op-dbus", "audit", "verify"])).exitCode).toBe(0);
  });

  test.each([
    { what: "no BTRFS and no pool size", prepare: "true", argv: [], exitCode: 3, says: "--pool-size 20G" },
    {
      what: "a pool path on another file system",
      prepare: `mkdir -p ${POOL} && mount -t tmpfs tmpfs ${POOL}`,
      argv: ["--pool-size", "2G"],
      exitCode: 3,
      says: "is a mount of tmpfs",
    },
    {
      what: "a pool path with somebody's files",
      prepare: `mkdir -p ${POOL} && touch ${POOL}/theirs`,
      argv: ["--pool-size", "2G"],
      exitCode: 3,
      says: "holds theirs",
    },
    {
      what: "a pool larger than the disk",
      prepare: "true",
      argv: ["--pool-size", "900T"],
      exitCode: 3,
      says: "does not fit",
    },
    { what: "a pool too small", prepare: "true", argv: ["--pool-size", "9M"], exitCode: 3, says: "at least 256M" },
    { what: "a size that is none", prepare: "true", argv: ["--pool-size", "big"], exitCode: 2, says: "big is no size" },
    {
      what: "a device that is none",
      prepare: "true",
      argv: ["--pool-device", "/dev/nope"],
      exitCode: 3,
      says: "no block device",
    },
    {
      what: "a missing package",
      prepare: "mv /usr/bin/mmdebstrap /root/",
      argv: ["--pool-size", "2G"],
      exitCode: 3,
      says: "apt-get install --no-install-recommends mmdebstrap",
    },
    {
      what: "an unknown step",
      prepare: "true",
      argv: ["--only", "everything"],
      exitCode: 2,
      says: "the steps are environment, subvolumes",
    },
    {
      what: "settings edited to nonsense",
      prepare: "printf '[container]\\nlimit = 1\\n' >/etc/opdbus/opdbus.toml",
      argv: ["--pool-size", "2G"],
      exitCode: 2,
      says: "line 2: container.limit: unknown key",
    },
    {
      what: "settings that are no TOML",
      prepare: "echo '[[[' >/etc/opdbus/conf.d/zz.toml",
      argv: ["--pool-size", "2G"],
      exitCode: 2,
      says: "conf.d/zz.toml: line 1",
    },
  ])("refuses, before anything is changed: $what", async ({ prepare, argv, exitCode, says }) => {
    await fresh();
    await sh(prepare);
    const before = await files();
    const refused = await install("--yes", ...argv);
    expect(refused).toMatchObject({ exitCode, stderr: expect.stringContaining(says) });
    expect(await files()).toBe(before);
    expect((await install("--dry-run", ...argv)).exitCode).toBe(exitCode);
  });

  test("on NixOS it marks the host, shows the declarative way, and changes nothing else", async () => {
    await fresh();
    await sh("touch /etc/NIXOS");
    const before = await files();
    const guided = await install(...INSTALL);
    expect(guided).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("services.operation-dbus") });
    expect(await sh("cat /etc/opdbus/deployment-type")).toBe("nixos\n");
    const marker = (text: string) =>
      text.split("\n").filter((line) => !/^\/etc\/opdbus(\/deployment-type)? /.test(line));
    expect(marker(await files())).toEqual(marker(before));
  });

  test("one run at a time: the second is told who is at work", async () => {
    await fresh();
    const first = await node.spawn(["opdbus-pve", "install", ...INSTALL]);
    await sh("until test -s /run/opdbus/install.lock; do sleep 0.02; done");
    const second = await install(...INSTALL);
    expect(second).toMatchObject({
      exitCode: 6,
      stderr: expect.stringMatching(/opdbus-pve install, process \d+, since/),
    });
    expect((await first.done).exitCode).toBe(0);
  });

  test("interrupted, it stops in good order, and the next run completes", async () => {
    await fresh();
    const running = await node.spawn(["opdbus-pve", "install", ...INSTALL]);
    await sh("until test -s /run/opdbus/install.lock; do sleep 0.02; done");
    await new Promise((resolve) => setTimeout(resolve, 150));
    await running.kill("SIGINT");
    expect((await running.done).exitCode).toBe(130);
    expect((await install(...INSTALL)).exitCode).toBe(0);
    expect(await sh("op-dbus doctor >/dev/null; op-dbus audit verify >/dev/null && echo whole")).toBe("whole\n");
  });

  test("killed again and again at any moment, it ends where an undisturbed run ends", async () => {
    await fresh();
    await install(...INSTALL);
    const wanted = await files(false);
    await node.stop();

    await fresh();
    for (let round = 0; round < 15; round++) {
      const running = await node.spawn(["opdbus-pve", "install", ...INSTALL]);
      await new Promise((resolve) => setTimeout(resolve, 100 + Math.random() * 600));
      await running.kill("SIGKILL");
      await running.done;
    }
    expect(await install(...INSTALL)).toMatchObject({ exitCode: 0 });
    const settled = (text: string) =>
      text
        .split("\n")
        // its size varies with what was written and when
        .filter((line) => !/current-state\.json|\/etc\/opdbus\/installed |pool\.img /.test(line));
    expect(settled(await files(false))).toEqual(settled(wanted));
    expect(await sh("op-dbus audit verify | head -1")).toContain("every hash fits");
    expect(await listLoopDevices(node.root)).toHaveLength(1);
  });

  test("a host whose own file system is BTRFS needs no file: the pool is a subvolume", async () => {
    await fresh();
    await sh(
      "truncate -s 2G /root/disk && mkfs.btrfs -q /root/disk && mkdir -p /mnt && mount -o loop /root/disk /mnt && cp -a /var/lib /mnt/lib && mount --bind /mnt/lib /var/lib",
    );
    expect(await install("--yes")).toMatchObject({ exitCode: 0 });
    expect(await sh(`stat -c %i ${POOL}; ls /etc/systemd/system | grep -c 'op.x2ddbus.mount'`)).toBe("256\n0\n");
    expect(await install("--yes")).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining("Nothing to do"),
    });
  });

  describe("on a device", () => {
    const DEVICE = "/root/device";
    /** A disk of a gigabyte; udev runs for it, since a mount by UUID waits for udev's word. */
    const disk = async (prepare: string) => {
      await fresh();
      await sh(
        `truncate -s 1G /root/disk; ${prepare.replaceAll("DISK", "/root/disk")}; losetup -f --show /root/disk >${DEVICE}`,
      );
      await sh(`systemctl unmask systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket`);
      await sh(`systemctl start systemd-udevd && udevadm trigger $(cat ${DEVICE}) && udevadm settle`);
      return (await sh(`cat ${DEVICE}`)).trim();
    };

    test("it is formatted when it is empty and its name is confirmed, not before", async () => {
      const device = await disk("true");
      const base = ["--yes", "--pool-device", device];
      const unconfirmed = await install(...base);
      expect(unconfirmed).toMatchObject({ exitCode: 3, stderr: expect.stringContaining(`--confirm-format ${device}`) });
      expect((await install(...base, "--confirm-format", "/dev/sda")).exitCode).toBe(3);
      expect(await sh("blkid -p /root/disk")).toBe("");
      expect((await install(...base, "--confirm-format", device)).exitCode).toBe(0);
      expect(await sh(`findmnt -no SOURCE,FSTYPE ${POOL}; grep -h What= /etc/systemd/system/*.mount`)).toMatch(
        new RegExp(`^${device} +btrfs\nWhat=/dev/disk/by-uuid/`),
      );
      expect(await install("--yes")).toMatchObject({
        stdout: expect.stringContaining("Nothing to do"),
      });
    });

    test("a person at a terminal types its name, and is asked once more", async () => {
      const device = await disk("true");
      const command = `opdbus-pve install --pool-device ${device}`;
      const typed = (name: string) =>
        atTerminal(node, command, ["Type its name", name], ...(name === device ? [["Go on?", "y"] as const] : []));
      expect(await typed("/dev/other")).toMatchObject({
        exitCode: 3,
        stdout: expect.stringContaining("Type its name"),
      });
      expect(await sh("blkid -p /root/disk")).toBe("");
      expect(await typed(device)).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("node now") });
      expect(await sh(`findmnt -no FSTYPE ${POOL}`)).toBe("btrfs\n");
    });

    test.each([
      { what: "a file system", prepare: "mkfs.ext4 -q DISK" },
      {
        what: "a partition table",
        prepare: String.raw`printf '\0\0\2\0\203\0\0\0\0\10\0\0\0\0\20\0' | dd of=DISK bs=1 seek=446 conv=notrunc status=none; printf '\125\252' | dd of=DISK bs=1 seek=510 conv=notrunc status=none`,
      },
      { what: "swap", prepare: "mkswap -q DISK" },
    ])("one with $what is never formatted, confirmed or not", async ({ prepare }) => {
      const device = await disk(prepare);
      const before = await sh("sha256sum /root/disk");
      const refused = await install("--yes", "--pool-device", device, "--confirm-format", device);
      expect(refused).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("is not empty") });
      expect(await sh("sha256sum /root/disk")).toBe(before);
    });

    test("a BTRFS that is on it is used as it is, with what is in it", async () => {
      const device = await disk(
        "mkfs.btrfs -q DISK && mkdir -p /mnt && mount -o loop DISK /mnt && echo kept >/mnt/theirs && umount /mnt",
      );
      const base = ["--yes", "--pool-device", device];
      expect(await install(...base)).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("not ours") });
      expect((await install(...base, "--confirm-format", device)).exitCode).toBe(0);
      expect(await sh(`cat ${POOL}/theirs`)).toBe("kept\n");
    });
  });

  test("a root that shares its ids with a user gets a range of its own", async () => {
    await fresh();
    await writeFile(join(node.root, "etc/subuid"), "alice:100000:65536\nbob:165536:65536\n");
    await writeFile(join(node.root, "etc/subgid"), "alice:100000:65536\n");
    await install(...INSTALL);
    expect(await sh("cat /etc/subuid /etc/subgid | grep root")).toBe("root:231072:65536\nroot:231072:65536\n");
  });
});
