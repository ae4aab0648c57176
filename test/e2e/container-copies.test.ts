import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type LabNode, stopNode } from "../../lab/node.ts";
import { startInstalledNode } from "../../lab/program.ts";
import { atTerminal } from "./at-terminal.ts";

const POOL = "/var/lib/op-dbus";
const CONTAINERS = `${POOL}/@containers`;
const DISK = "/srv/disk";

describe("snapshots, clones, renamings and copies of containers on an installed node", () => {
  let node: LabNode;

  beforeAll(async () => {
    node = await startInstalledNode("copies");
  });
  afterAll(() => stopNode("copies"));
  // what a test left that failed must not fail the others
  afterEach(() => sh(`cd ${CONTAINERS} && for name in *; do op-dbus container destroy "$name" --force --yes; done`));

  const op = (...argv: string[]) => node.run(["op-dbus", "container", ...argv]);
  const sh = async (script: string) => (await node.run(["sh", "-c", script])).stdout;
  const json = async (...argv: string[]) => JSON.parse((await op(...argv, "--json")).stdout);
  const inGuest = (name: string, script: string) => sh(`lxc-attach -n ${name} -- sh -c '${script}'`);
  /** What there is of containers, finished or not: nothing may be left behind by a failure. */
  const traces = () => sh(`ls -A ${CONTAINERS} /var/lib/lxc; btrfs subvolume list -o ${CONTAINERS} | wc -l`);
  /**
   * Everything that makes a tree what it is, as one number. btrfs.compression is not of it: a new file takes
   * it from its folder only when the kernel found that folder's attributes in the same leaf as the folder.
   */
  const digest = (path: string) => {
    const pax = "--format=pax --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime";
    const attributes = "--acls --xattrs --xattrs-include='*' --xattrs-exclude='btrfs.*'";
    return sh(`tar -C ${path} -c --sort=name --numeric-owner ${attributes} ${pax} -- $(ls -A ${path}) | sha256sum`);
  };
  const must = async (...argv: string[]) => expect(await op(...argv), argv.join(" ")).toMatchObject({ exitCode: 0 });

  test("a snapshot of a running container comes back with its files, configuration and identity", async () => {
    const before = await traces();
    await must("create", "web", "--network", "none", "--wait");
    await inGuest("web", "echo one >/root/data; mkdir /srv/d; chown 1000:1000 /srv/d; sync");
    const id = await inGuest("web", "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub");
    const taken = await op("snapshot", "web", "before-upgrade", "--note", "all is well");
    expect(taken).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("what a power cut would have left") });
    const sealed = await digest(`${CONTAINERS}/web/snapshots/before-upgrade/rootfs`);
    await inGuest("web", "echo two >/root/data; rm -r /srv/d /etc/ssh; dd if=/dev/urandom of=/root/big bs=1M count=8");
    await must("snapshot", "web");
    const { snapshots } = await json("listsnapshot", "web");
    expect(snapshots).toEqual([
      { name: "before-upgrade", created_at: expect.any(String), note: "all is well", running: true },
      { name: expect.stringMatching(/^\d{8}T\d{6}Z$/), created_at: expect.any(String), running: true },
    ]);
    expect((await op("listsnapshot", "web")).stdout).toMatch(
      /^SNAPSHOT +TAKEN.*\nbefore-upgrade +2.* running +all is well\n/,
    );
    expect((await json("show", "web")).snapshots).toBe(2);
    expect(await sh(`touch ${CONTAINERS}/web/snapshots/before-upgrade/rootfs/x 2>&1`)).toContain("Read-only");

    const running = await op("rollback", "web", "before-upgrade", "--yes");
    expect(running).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("op-dbus container stop web") });
    await must("stop", "web");
    await sh(
      `echo 'lxc.mount.entry = /srv srv none bind 0 0' >>${CONTAINERS}/web/config; echo mine >${CONTAINERS}/web/notes`,
    );
    expect((await op("rollback", "web", "before-upgrade")).exitCode).toBe(2);
    const kept = await atTerminal(node, "op-dbus container rollback web before-upgrade", ["[y/N]", "n"]);
    expect(kept).toMatchObject({ exitCode: 1, stdout: expect.stringContaining("unless a snapshot is taken first") });
    expect(await sh(`cat ${CONTAINERS}/web/rootfs/root/data`)).toBe("two\n");
    await must("rollback", "web", "before-upgrade", "--yes");
    expect(await digest(`${CONTAINERS}/web/rootfs`)).toBe(sealed);
    expect(await sh(`cat ${CONTAINERS}/web/notes; grep -c mount.entry ${CONTAINERS}/web/config`)).toBe("mine\n0\n");
    await must("start", "web", "--wait");
    expect(await inGuest("web", "cat /root/data; stat -c %u /srv/d")).toBe("one\n1000\n");
    expect(await inGuest("web", "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub")).toBe(id);

    // and forward again, to the snapshot that came along
    await must("stop", "web", "--force");
    expect(await op("rollback", "web", snapshots[1].name, "--yes", "--start")).toMatchObject({
      exitCode: 0,
      stdout: `web: rolled back to ${snapshots[1].name}\nweb: started\n`,
    });
    expect(await inGuest("web", "cat /root/data; ls /root")).toBe("two\nbig\ndata\n");
    const asked = await atTerminal(node, "op-dbus container destroy web --force", ["[y/N]", "y"]);
    expect(asked).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining("Remove web and all data for good, with its 2 snapshots? [y/N]"),
    });
    expect(await traces()).toBe(before);
    expect(await sh("systemctl --failed --no-legend")).toBe("");
    expect((await node.run(["op-dbus", "audit", "verify"])).exitCode).toBe(0);
  });

  test("what is asked for wrongly is told, with what mends it, and changes nothing", async () => {
    await must("create", "a", "b", "--network", "none");
    await must("snapshot", "a", "one");
    await must("start", "b");
    const state = async () => `${await traces()}${await digest(`${CONTAINERS}/a`)}`;
    const before = await state();
    for (const [argv, exitCode, told] of [
      ["snapshot none", 1, "There is no container none"],
      ["snapshot a one", 1, "op-dbus container delsnapshot a one"],
      ["snapshot a ../one", 2, "as a snapshot name"],
      ["listsnapshot none", 1, "There is no container none"],
      ["delsnapshot a two --yes", 1, "op-dbus container listsnapshot a"],
      ["delsnapshot a one", 2, "op-dbus container delsnapshot a one --yes"],
      ["rollback a two --yes", 1, "a has no snapshot two"],
      ["rollback b one --yes", 1, "b has no snapshot one"],
      ["clone none c", 1, "There is no container none"],
      ["clone a a", 2, "no clone can have its name"],
      ["clone a b", 1, "There is a container b already"],
      ["clone a c b", 1, "There is a container b already"],
      ["clone a c --snapshot two", 1, "a has no snapshot two"],
      ["rename none c", 1, "There is no container none"],
      ["rename a a", 2, "called so already"],
      ["rename a b", 1, "There is a container b already"],
      ["rename b c", 1, "op-dbus container stop b"],
      [`copy none --to ${POOL}`, 1, "There is no container none"],
      [`copy a --to ${POOL}`, 2, "file system of this pool"],
      ["copy a --to /root", 2, "no file system is mounted there"],
      ["copy a --to /run", 2, "it is tmpfs, and a pool is BTRFS"],
    ] as const) {
      const refused = await op(...argv.split(" "));
      expect(refused, argv).toMatchObject({ exitCode, stderr: expect.stringContaining(told) });
      const asJson = await op(...argv.split(" "), "--json");
      expect(asJson.exitCode, argv).toBe(exitCode);
      expect(JSON.parse(asJson.stdout), argv).toMatchObject({ schema: 1 });
    }
    expect(await state()).toBe(before);
    await must("destroy", "a", "b", "--force", "--yes");
  });

  test("clones of a running container are machines of their own, and have its files", async () => {
    await sh(
      "echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeFakeFakeFakeFakeFakeFakeFakeFakeFakeFake x' >/root/key.pub",
    );
    await must("create", "orig", "--network", "none", "--ssh-key", "/root/key.pub", "--onboot", "--wait");
    await inGuest("orig", "echo one >/root/data; : >/root/.ssh/authorized_keys; sync");
    await must("snapshot", "orig", "one");
    await inGuest("orig", "echo two >/root/data; sync");
    const cloned = await json("clone", "orig", "c1", "c2", "--wait");
    expect(cloned.containers).toMatchObject([
      { name: "c1", result: "running", record: { name: "c1", cloned_from: "orig" } },
      { name: "c2", result: "running" },
    ]);
    await must("clone", "orig", "c3", "--snapshot", "one", "--wait");
    const identity = (name: string) =>
      inGuest(
        name,
        'cat /etc/machine-id; cut -d" " -f2 /etc/ssh/ssh_host_ed25519_key.pub; cat /var/lib/dbus/machine-id',
      );
    const ids = await Promise.all(["orig", "c1", "c2", "c3"].map(identity));
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{32}\nAAAA\S+\n[0-9a-f]{32}\n$/);
    expect(new Set(ids.flatMap((id) => id.split("\n")[0])).size).toBe(4);
    expect(new Set(ids.flatMap((id) => id.split("\n")[1])).size).toBe(4);
    for (const name of ["c1", "c2", "c3"]) {
      expect(
        await inGuest(name, "hostname; cat /etc/hostname; grep 127.0.1.1 /etc/hosts; systemctl is-system-running"),
      ).toBe(`${name}\n${name}\n127.0.1.1 ${name}\nrunning\n`);
      expect(await inGuest(name, "cat /root/data /root/.ssh/authorized_keys")).toBe(name === "c3" ? "one\n" : "two\n");
      expect(await json("show", name)).toMatchObject({ onboot: false, snapshots: 0, cloned_from: "orig" });
    }
    expect((await json("show", "c3")).cloned_snapshot).toBe("one");
    expect(await identity("orig")).toBe(ids[0]);
    await must("destroy", "orig", "c1", "c2", "c3", "--force", "--yes");
  });

  test("a guest that lays links where its identity lies leads nobody out of its tree", async () => {
    const before = await traces();
    await sh(
      "mkdir -p /srv/canary; for f in machine-id ssh_host_rsa_key hostname firstboot-done; do echo mine >/srv/canary/$f; done",
    );
    const canary = await digest("/srv/canary");
    await must("create", "evil", "--network", "none", "--wait");
    await inGuest(
      "evil",
      "ln -sf /srv/canary/machine-id /etc/machine-id; ln -sf /srv/canary/ssh_host_rsa_key /etc/ssh/ssh_host_rsa_key; ln -s /srv/canary /etc/netclient; ln -sf /srv/canary/hostname /etc/hostname; sync",
    );
    await must("clone", "evil", "good");
    expect(
      await sh(`stat -c '%F %s' ${CONTAINERS}/good/rootfs/etc/machine-id; ls ${CONTAINERS}/good/rootfs/etc/ssh`),
    ).not.toMatch(/link|ssh_host/);
    await must("start", "good", "--wait");
    expect(await inGuest("good", "cat /etc/machine-id; hostname")).toMatch(/^[0-9a-f]{32}\ngood\n$/);
    await inGuest(
      "evil",
      "mv /etc/ssh /root/ssh; ln -s /srv/canary /etc/ssh; rm -r /var/lib/opdbus; ln -s /srv/canary /var/lib/opdbus; sync",
    );
    expect(await op("clone", "evil", "worse")).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining("lies behind a link"),
    });
    await must("stop", "evil", "--force");
    await must("rename", "evil", "renamed");
    expect(await digest("/srv/canary")).toBe(canary);
    await must("destroy", "renamed", "good", "--force", "--yes");
    expect(await traces()).toBe(before);
  });

  test("a renaming takes everything along, and the guest has its new name", async () => {
    await must("create", "old", "--network", "none", "--onboot", "--wait");
    await inGuest("old", "echo one >/root/data; sync");
    const id = await inGuest("old", "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub");
    await must("snapshot", "old", "one");
    await must("stop", "old");
    const own = "# mine\\nlxc.hook.pre-start = /var/lib/lxc/old/hook.sh";
    await sh(
      `cd ${CONTAINERS}/old; printf '%b\\n' '${own}' >>config; printf '#!/bin/sh\\n' >hook.sh; chmod 755 hook.sh`,
    );
    const renamed = await op("rename", "old", "new");
    expect(renamed).toMatchObject({ exitCode: 0, stdout: "old: is new now\n" });
    expect(renamed.stderr).toContain("lxc.hook.pre-start = /var/lib/lxc/old/hook.sh");
    await sh(`sed -i s,lxc/old/,lxc/new/, ${CONTAINERS}/new/config`);
    expect(await sh("lxc-ls -1; ls /var/lib/lxc")).toBe("new\nnew\n");
    expect(await sh("systemctl is-enabled lxc@old lxc@new")).toBe("disabled\nenabled\n");
    await node.reboot();
    expect((await json("list", "--running")).containers).toMatchObject([{ name: "new", record: { name: "new" } }]);
    await must("start", "new", "--wait");
    expect(await inGuest("new", "hostname; cat /etc/hostname; grep 127.0.1.1 /etc/hosts; cat /root/data")).toBe(
      "new\nnew\n127.0.1.1 new\none\n",
    );
    expect(await inGuest("new", "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub")).toBe(id);
    await must("stop", "new");
    await must("rollback", "new", "one", "--yes", "--start");
    await must("start", "new", "--wait");
    expect(
      await inGuest("new", "hostname; cat /root/data; cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub"),
    ).toBe(`new\none\n${id}`);
    await must("destroy", "new", "--force", "--yes");
    expect(await sh("systemctl is-enabled lxc@new; systemctl --failed --no-legend")).toBe("disabled\n");
  });

  test("of many clones to one name one wins, and the others leave nothing", async () => {
    await must("create", "orig", "--network", "none");
    const made = await Promise.all(Array.from({ length: 6 }, () => op("clone", "orig", "twin")));
    expect(made.filter(({ exitCode }) => exitCode === 0)).toHaveLength(1);
    for (const { exitCode, stderr } of made)
      if (exitCode !== 0) expect(stderr).toContain("There is a container twin already");
    expect((await json("list")).containers.map(({ name }: { name: string }) => name)).toEqual(["orig", "twin"]);
    expect(await sh(`ls -A ${CONTAINERS}`)).toBe("orig\ntwin\n");
    await must("start", "twin", "--wait");
    await must("destroy", "orig", "twin", "--force", "--yes");
  });

  test("rolled back while somebody starts it, a container runs from the files that are its own", async () => {
    await must("create", "race", "--network", "none");
    await sh(`echo then >${CONTAINERS}/race/rootfs/root/data`);
    await must("snapshot", "race", "then");
    for (let round = 0; round < 12; round++) {
      await sh(`echo now >${CONTAINERS}/race/rootfs/root/data`);
      const rival = node.run(["sh", "-c", `sleep ${(round * 0.03).toFixed(2)}; lxc-start -n race`]);
      const rolledBack = await op("rollback", "race", "then", "--yes");
      await rival;
      const onDisk = await sh(`cat ${CONTAINERS}/race/rootfs/root/data`);
      expect(onDisk, `round ${round}`).toBe(rolledBack.exitCode === 0 ? "then\n" : "now\n");
      if (rolledBack.exitCode !== 0) expect(rolledBack.stderr).toContain("race is running");
      if ((await sh("lxc-ls --running")).includes("race")) {
        // what it runs from is what lies there
        await expect.poll(() => inGuest("race", "cat /root/data; echo guest >/root/from; sync")).toBe(onDisk);
        expect(await sh(`cat ${CONTAINERS}/race/rootfs/root/from`)).toBe("guest\n");
      }
      await op("stop", "race", "--force");
      expect(await sh(`ls -A ${CONTAINERS}`)).toBe("race\n");
      expect((await json("listsnapshot", "race")).snapshots).toMatchObject([{ name: "then" }]);
    }
    await must("destroy", "race", "--yes");
  });

  test("rollbacks, renamings and clones killed at any moment lose nothing, and the same call goes on", async () => {
    const before = await traces();
    await must("create", "k", "--network", "none");
    await sh(`echo then >${CONTAINERS}/k/rootfs/root/data`);
    await must("snapshot", "k", "then");
    await must("snapshot", "k", "other");
    const killed = async (...argv: string[]) => {
      const running = await node.spawn(["op-dbus", "container", ...argv]);
      await new Promise((resolve) => setTimeout(resolve, 60 + Math.random() * 220));
      await running.kill("SIGKILL");
      return (await running.done).exitCode === 0;
    };
    const at = { name: "k", next: "l" };
    for (let round = 0; round < 8; round++) {
      await sh(`echo now-${round} >${CONTAINERS}/${at.name}/rootfs/root/data`);
      await killed("rollback", at.name, "then", "--yes");
      const data = await sh(`cat ${CONTAINERS}/${at.name}/rootfs/root/data`);
      expect(["then\n", `now-${round}\n`]).toContain(data);
      expect((await json("listsnapshot", at.name)).snapshots.map((one: object) => "broken" in one)).toEqual([
        false,
        false,
      ]);

      await killed("clone", at.name, "x", "y");
      await killed("snapshot", at.name, "extra");
      await op("delsnapshot", at.name, "extra", "--yes");
      await op("destroy", "x", "y", "--yes");

      if (!(await killed("rename", at.name, at.next))) {
        const there = (await json("list")).containers;
        expect(there).toHaveLength(1);
        const again = await op("rename", at.name, at.next);
        // what was killed may have been all but the end of its process
        if (again.exitCode !== 0) expect(again.stderr).toContain(`There is no container ${at.name}`);
      }
      [at.name, at.next] = [at.next, at.name];
      expect((await json("list")).containers).toMatchObject([{ name: at.name, record: { name: at.name } }]);
      expect(await sh(`cat ${CONTAINERS}/${at.name}/rootfs/root/data`)).toBe(data);
    }
    await must("start", at.name, "--wait");
    await must("destroy", at.name, "--force", "--yes");
    expect(await traces()).toBe(before);
    expect((await node.run(["op-dbus", "audit", "verify"])).exitCode).toBe(0);
  });

  test("subvolumes that a guest made are told to be in no snapshot, and go with a rollback", async () => {
    await must("create", "sub", "--network", "none");
    await sh(
      `btrfs subvolume create ${CONTAINERS}/sub/rootfs/srv/inner; echo x >${CONTAINERS}/sub/rootfs/srv/inner/file`,
    );
    const taken = await op("snapshot", "sub", "one");
    expect(taken).toMatchObject({ exitCode: 0, stderr: expect.stringContaining("what is in them was left out") });
    expect((await op("clone", "sub", "sub2")).stderr).toContain("what is in them was left out");
    const refused = await op("rollback", "sub", "one", "--yes");
    expect(refused).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("they would be lost") });
    expect(refused.stderr).toContain("op-dbus container rollback sub one --yes --discard-subvolumes");
    expect(await sh(`cat ${CONTAINERS}/sub/rootfs/srv/inner/file`)).toBe("x\n");
    const asked = await atTerminal(node, "op-dbus container rollback sub one", ["[y/N]", "y"]);
    expect(asked).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining("are in no snapshot, and are lost, too"),
    });
    await must("start", "sub", "sub2", "--wait");
    // what stands in their place can be used
    for (const name of ["sub", "sub2"])
      expect(await inGuest(name, "echo y >/srv/inner/file && cat /srv/inner/file")).toBe("y\n");
    await must("stop", "sub");
    await sh(`btrfs subvolume create ${CONTAINERS}/sub/rootfs/srv/more`);
    await must("rollback", "sub", "one", "--yes", "--discard-subvolumes");
    await must("destroy", "sub", "sub2", "--force", "--yes");
    expect(await sh(`ls -A ${CONTAINERS}; btrfs subvolume list -o ${CONTAINERS}`)).toBe("");
  });

  test("a copy on another disk is the same, file by file, and what is killed half way is cleared away", async () => {
    await sh(
      `truncate -s 3G /root/disk && mkfs.btrfs -q /root/disk && mkdir -p ${DISK} && mount -o loop /root/disk ${DISK}`,
    );
    await must("create", "web", "--network", "none", "--wait");
    await inGuest(
      "web",
      `echo one >/root/data; cp /bin/ping /root/ping; perl -e "syscall(188, @ARGV, 1, 0) == 0 or die" /root/data user.x y; sync`,
    );
    const running = await op("copy", "web", "--to", `${DISK}/`, "--name", "live");
    expect(running).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/^web: copied to .*live, [\d.]+ [MG]iB\n$/),
    });
    await must("stop", "web");
    const killed = await node.spawn(["op-dbus", "container", "copy", "web", "--to", DISK]);
    await expect.poll(() => sh(`ls -A ${DISK}/@containers`)).toContain(".new-");
    await killed.kill("SIGKILL");
    expect((await killed.done).exitCode).not.toBe(0);
    const copied = await json("copy", "web", "--to", DISK);
    expect(copied.containers).toMatchObject([{ name: "web", result: "copied", path: `${DISK}/@containers/web` }]);
    expect(await sh(`ls -A ${DISK}/@containers; ls -A ${CONTAINERS}`)).toBe("live\nweb\nweb\n");
    expect(await digest(`${DISK}/@containers/web/rootfs`)).toBe(await digest(`${CONTAINERS}/web/rootfs`));
    expect(await sh(`stat -c %a ${DISK}/@containers ${DISK}/@containers/web`)).toBe("700\n700\n");
    const attribute = `perl -e 'my ($name, $x) = ("user.x", " "); syscall(191, $ARGV[0], $name, $x, 1) == 1 and print $x' --`;
    expect(await sh(`${attribute} ${DISK}/@containers/web/rootfs/root/data`)).toBe("y");

    expect(await op("copy", "web", "--to", DISK)).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining(`There is a container web in ${DISK} already`),
    });
    await sh(`chmod 777 ${DISK}`);
    expect(await op("copy", "web", "--to", DISK, "--name", "z")).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining("others than root can write"),
    });
    await sh(`chmod 755 ${DISK}; ln -s ${DISK} /srv/link`);
    expect((await op("copy", "web", "--to", "/srv/link", "--name", "z")).exitCode).toBe(2);
    await sh(`fallocate -l $(($(stat -f -c '%a * %S' ${DISK}) - 33554432)) ${DISK}/fill; sync -f ${DISK}`);
    expect(await op("copy", "web", "--to", DISK, "--name", "z")).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining("left"),
    });
    await sh(`rm ${DISK}/fill`);
    expect(await sh(`ls -A ${DISK}/@containers`)).toBe("live\nweb\n");
    await must("destroy", "web", "--yes");
  });

  test("a host on which that disk is the pool has the containers", async () => {
    await sh(`systemctl stop opdbus.service; umount ${POOL} && umount ${DISK} && mount -o loop /root/disk ${POOL}`);
    expect((await node.run(["opdbus-pve", "install", "--yes", "--skip", "templates"])).exitCode).toBe(0);
    expect((await json("list")).containers).toMatchObject([
      { name: "live", running: false, record: { name: "live" } },
      { name: "web", running: false, record: { name: "web" } },
    ]);
    expect(await sh("ls /var/lib/lxc")).toBe("");
    expect((await node.run(["op-dbus", "doctor"])).stdout).toContain("LXC does not know the container web");
    // of a host whose containers had other ids
    await sh(`sed -i '/idmap/s/ 100000 / 7000000 /' ${CONTAINERS}/live/config`);
    const refused = await op("start", "live");
    expect(refused).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("not root's alone on this host") });
    await sh(refused.stderr.split("\n")[1] ?? "");
    await must("start", "web", "live", "--wait");
    expect(await inGuest("web", "cat /root/data; hostname; /root/ping -c 1 -q 127.0.0.1 | grep -c received")).toBe(
      "one\nweb\n1\n",
    );
    expect(await inGuest("live", "cat /root/data; hostname")).toBe("one\nlive\n");
    expect(await sh("lxc-ls -1")).toBe("live\nweb\n");
    await must("destroy", "web", "live", "--force", "--yes");
  });
});
