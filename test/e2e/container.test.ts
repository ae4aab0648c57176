import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type LabNode, stopNode } from "../../lab/node.ts";
import { startInstalledNode } from "../../lab/program.ts";
import { atTerminal } from "./at-terminal.ts";

const POOL = "/var/lib/op-dbus";

// ioctls of linux/btrfs.h: SUBVOL_CREATE, SET_RECEIVED_SUBVOL, SUBVOL_SETFLAGS (2 is read-only)
const GUEST_SUBVOLUMES = String.raw`
use Fcntl;
sub call { my ($at, $request, $with) = @_; sysopen(my $d, $at, O_RDONLY | O_DIRECTORY) or die "$at: $!"; ioctl($d, $request, $with) or die "$at: $!"; }
sub make { my ($at, $name) = @_; call($at, 0x5000940e, pack("q a4088", 0, $name)); }
make("/srv", "inner"); make("/srv/inner", "-most" . chr(10) . " of all");
make("/srv", "sealed"); make("/srv/sealed", "inside");
call("/srv/sealed", 0xc0c89425, chr(17) x 16 . pack("Q Q", 1, 1) . chr(0) x 168);
call("/srv/sealed", 0x4008941a, pack("Q", 2));
chdir "/srv"; my $long = "d" x 250;
for (1 .. 20) { mkdir $long or die $!; chdir $long or die $!; }
make(".", "deep"); print "made";`;

describe("containers on an installed node", () => {
  let node: LabNode;

  beforeAll(async () => {
    node = await startInstalledNode("containers");
  });
  afterAll(() => stopNode("containers"));

  const op = (...argv: string[]) => node.run(["op-dbus", ...argv]);
  const sh = async (script: string) => (await node.run(["sh", "-c", script])).stdout;
  const json = async (...argv: string[]) => JSON.parse((await op(...argv, "--json")).stdout);
  /** What there is of containers, finished or not: nothing may be left behind by a failure. */
  const traces = () => sh(`ls -A ${POOL}/@containers /var/lib/lxc; btrfs subvolume list -o ${POOL}/@containers`);

  test("are made, started, asked, and removed without a trace", async () => {
    const before = await traces();
    const made = await op("container", "create", "web-01", "--network", "socket", "--wait");
    expect(made).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/web-01: running\n$/) });
    expect(made.stderr).toContain("loopback only");

    const who = await op(
      "container",
      "exec",
      "web-01",
      "--",
      "sh",
      "-c",
      "id -un; hostname; cat /etc/hostname; exit 7",
    );
    expect(who).toMatchObject({ exitCode: 7, stdout: "root\nweb-01\nweb-01\n" });
    expect((await json("container", "list")).containers).toMatchObject([
      {
        name: "web-01",
        running: true,
        record: { network: "socket", template: "debian-base", cores: 2, memory_mib: 2048 },
      },
    ]);
    expect((await op("container", "logs", "web-01", "--lines", "20")).stdout).toContain("web-01 systemd[1]");

    const refused = await op("container", "destroy", "web-01", "--yes");
    expect(refused).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("web-01 is running") });
    expect(await op("container", "destroy", "web-01", "--force", "--yes")).toMatchObject({ exitCode: 0 });
    expect(await traces()).toBe(before);
    expect(await sh("systemctl is-system-running; systemctl --failed --no-legend")).toBe("running\n");
    expect((await op("audit", "verify")).exitCode).toBe(0);
  });

  test("are LXC's containers, too: its own commands find, start and enter them", async () => {
    await op("container", "create", "plain", "--network", "none");
    expect(await sh("lxc-ls")).toContain("plain");
    expect(
      await sh("lxc-start -n plain && lxc-wait -n plain -s RUNNING -t 10 && lxc-attach -n plain -- hostname"),
    ).toBe("plain\n");
    expect((await json("container", "show", "plain")).running).toBe(true);
    expect(await op("container", "stop", "plain", "--timeout", "20")).toMatchObject({
      exitCode: 0,
      stdout: "plain: stopped\n",
    });
    await op("container", "destroy", "plain", "--yes");
  });

  test("run unprivileged, in Debian's unit, with root mapped away, and out of reach of the host's users", async () => {
    await op("container", "create", "mapped", "--network", "none", "--start");
    expect(await sh("systemctl is-active lxc@mapped")).toBe("active\n");
    expect(await sh("lxc-attach -n mapped -- cat /proc/self/uid_map")).toMatch(/^\s*0\s+100000\s+65536\s*$/);
    // on disk a guest's set-uid file is owned by the host's root: only the closed folder is between
    await sh("lxc-attach -n mapped -- sh -c 'cp /bin/sh /usr/local/bin/suid && chmod 4755 /usr/local/bin/suid'");
    const planted = `${POOL}/@containers/mapped/rootfs/usr/local/bin/suid`;
    expect(await sh(`stat -c '%u %a' ${planted}`)).toBe("0 4755\n");
    // by way of a shell: setpriv itself still looks paths up with root's capabilities
    const nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "sh", "-c"];
    const user = await node.run([...nobody, `${planted} -c id`]);
    expect(user.exitCode).not.toBe(0);
    expect(user.stdout).toBe("");
    await op("container", "destroy", "mapped", "--force", "--yes");
  });

  test("have an identity of their own, made at their first start", async () => {
    await op("container", "create", "one", "two", "--network", "none", "--wait");
    const identity = (name: string) =>
      sh(`lxc-attach -n ${name} -- sh -c 'cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub'`);
    const [first, second] = [await identity("one"), await identity("two")];
    expect(first).toMatch(/^[0-9a-f]{32}\nssh-ed25519 /);
    expect(first.split("\n")[0]).not.toBe(second.split("\n")[0]);
    expect(first.split(" ")[1]).not.toBe(second.split(" ")[1]);
    await op("container", "stop", "one");
    await op("container", "start", "one", "--wait");
    expect(await identity("one")).toBe(first);
    await op("container", "destroy", "one", "two", "--force", "--yes");
  });

  test("get the public keys they were made with, and refuse private ones", async () => {
    await sh("ssh-keygen -q -t ed25519 -N '' -C admin@node -f /root/key || lxc-ls >/dev/null");
    await writeFile(
      join(node.root, "root/key.pub"),
      "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeFakeFakeFakeFakeFakeFakeFakeFakeFakeFake admin@node\n",
    );
    await writeFile(join(node.root, "root/private"), "-----BEGIN OPENSSH PRIVATE KEY-----\nxx\n");
    await op("container", "create", "keys", "--network", "none", "--ssh-key", "/root/key.pub", "--wait");
    expect(await sh("lxc-attach -n keys -- cat /root/.ssh/authorized_keys")).toMatch(
      /^ssh-ed25519 AAAA\S+ admin@node\n$/,
    );
    expect(await sh("lxc-attach -n keys -- stat -c %a /root/.ssh /root/.ssh/authorized_keys")).toBe("700\n600\n");
    const refused = await op("container", "create", "keys2", "--network", "none", "--ssh-key", "/root/private");
    expect(refused).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("holds no public SSH key") });
    await op("container", "destroy", "keys", "--force", "--yes");
  });

  test.each(["../x", "-x", "x-", "Web", "a b", "a".repeat(64), ""])("the name %j is refused", async (name) => {
    const before = await traces();
    const refused = await op("container", "create", "--network", "none", "--", name);
    expect(refused.exitCode).toBe(2);
    expect(refused.stderr).toContain("as a container name");
    expect(await traces()).toBe(before);
  });

  test("a taken name is refused, whoever has it", async () => {
    await op("container", "create", "taken", "--network", "none");
    expect(await op("container", "create", "taken", "--network", "none")).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining("already"),
    });
    await sh("mkdir -p /var/lib/lxc/foreign && echo 'lxc.uts.name = foreign' >/var/lib/lxc/foreign/config");
    expect(await op("container", "create", "foreign", "--network", "none")).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining("not ours"),
    });
    expect(await op("container", "destroy", "foreign", "--force", "--yes")).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining("There is no container foreign"),
    });
    expect(await sh("cat /var/lib/lxc/foreign/config")).toBe("lxc.uts.name = foreign\n");
    await sh("rm -r /var/lib/lxc/foreign");
    await op("container", "destroy", "taken", "--yes");
  });

  test("ten creates at once give ten containers, and of one name one", async () => {
    const names = Array.from({ length: 10 }, (_, index) => `many-${index}`);
    const made = await Promise.all(names.map((name) => op("container", "create", name, "--network", "none")));
    expect(made.map(({ exitCode }) => exitCode)).toEqual(names.map(() => 0));
    const twins = await Promise.all(names.map(() => op("container", "create", "twin", "--network", "none")));
    expect(twins.filter(({ exitCode }) => exitCode === 0)).toHaveLength(1);
    const listed = (await json("container", "list")).containers.map(({ name }: { name: string }) => name);
    expect(listed).toEqual([...names, "twin"].toSorted());
    expect((await op("audit", "verify")).exitCode).toBe(0);
    await op("container", "destroy", "--yes", ...listed);
    expect(await sh(`ls -A ${POOL}/@containers`)).toBe("");
  });

  test("a mesh network is not there yet, and what is not said cannot be asked without a terminal", async () => {
    expect(await op("container", "create", "m", "--network", "mesh")).toMatchObject({ exitCode: 3 });
    expect(await op("container", "create", "m")).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining("--network socket"),
    });
    expect(await op("container", "create", "m", "--network", "none", "--template", "nope")).toMatchObject({
      exitCode: 3,
    });
    expect(await op("container", "create", "m", "--network", "none", "--memory", "lots")).toMatchObject({
      exitCode: 2,
    });
  });

  test("a limit that cannot be enforced is refused, unless the settings accept that; then it is shown", async () => {
    // whatever this machine lends a node
    await sh("touch /run/none && mount --bind /run/none /sys/fs/cgroup/cgroup.controllers");
    await sh("mv /etc/opdbus/conf.d/lab.toml /etc/opdbus/lab.off");
    const refused = await op("container", "create", "limits", "--network", "none");
    expect(refused).toMatchObject({
      exitCode: 3,
      stderr: expect.stringMatching(/cannot limit cores, memory, swap[\s\S]*best-effort/),
    });
    await sh("mv /etc/opdbus/lab.off /etc/opdbus/conf.d/lab.toml");
    await op("container", "create", "limits", "--network", "none");
    expect((await json("container", "show", "limits")).limits_not_in_force).toEqual(["cores", "memory", "swap"]);
    await op("container", "destroy", "limits", "--yes");
    await sh("umount /sys/fs/cgroup/cgroup.controllers");
  });

  test("a list survives what is broken, and says what and where", async () => {
    await op("container", "create", "good", "bad-config", "bad-record", "--network", "none");
    await sh(`echo 'this is nonsense' >>${POOL}/@containers/bad-config/config`);
    await sh(`echo '{' >${POOL}/@containers/bad-record/container.json`);
    const listed = await op("container", "list");
    expect(listed.exitCode).toBe(0);
    expect(listed.stdout).toMatch(
      /bad-config +stopped, broken[\s\S]*bad-record +stopped, broken[\s\S]*good +stopped +none/,
    );
    expect(listed.stderr).toMatch(/bad-config\/config, line \d+ is no line of LXC's: this is nonsense/);
    expect(listed.stderr).toContain("bad-record/container.json is broken");
    expect(await op("doctor")).toMatchObject({ exitCode: 4, stdout: expect.stringContaining("this is nonsense") });
    // a running one whose record broke can still be entered and stopped, and is not stopped by a restart that would fail
    await op("container", "start", "good");
    await sh(`echo '{' >${POOL}/@containers/good/container.json`);
    expect((await op("container", "restart", "good")).exitCode).toBe(1);
    expect(await op("container", "exec", "good", "--", "hostname")).toMatchObject({ exitCode: 0, stdout: "good\n" });
    expect(await op("container", "stop", "good")).toMatchObject({ exitCode: 0, stdout: "good: stopped\n" });
    await op("container", "destroy", "good", "bad-config", "bad-record", "--yes");
  });

  test("one of several that fails does not keep the others from their turn, and all are in the JSON", async () => {
    await op("container", "create", "left", "right", "--network", "none");
    const started = await op("container", "start", "left", "missing", "right", "--json");
    expect(started).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("There is no container missing") });
    expect(JSON.parse(started.stdout).containers).toMatchObject([
      { name: "left", result: "started" },
      { name: "missing", error: { message: "There is no container missing", hint: "op-dbus container list" } },
      { name: "right", result: "started" },
    ]);
    const destroyed = await op("container", "destroy", "left", "missing", "right", "--force", "--yes");
    expect(destroyed).toMatchObject({ exitCode: 1, stdout: "left: destroyed\nright: destroyed\n" });
  });

  test("what is half removed can be removed, and its name used again", async () => {
    await op("container", "create", "half", "--network", "none");
    await sh(`rm ${POOL}/@containers/half/container.json`);
    expect(await op("container", "start", "half")).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining("destroy half --force"),
    });
    expect(await op("container", "destroy", "half", "--force", "--yes")).toMatchObject({ exitCode: 0 });
    // a destroy that was cut off behind its rename leaves a link to nothing
    await sh(`ln -s ${POOL}/@containers/half /var/lib/lxc/half`);
    expect(await op("container", "create", "half", "--network", "none")).toMatchObject({ exitCode: 0 });
    await op("container", "destroy", "half", "--yes");
  });

  test("destroyed while somebody starts it, a container is whole or gone, and never runs without its files", async () => {
    for (let round = 0; round < 16; round++) {
      const name = `race-${round}`;
      await op("container", "create", name, "--network", "none");
      const rival = node.run(["sh", "-c", `sleep ${(round * 0.02).toFixed(2)}; systemctl start lxc@${name}`]);
      const destroyed = await op("container", "destroy", name, "--yes", ...(round % 2 === 0 ? [] : ["--force"]));
      await rival;
      const there = await sh(`ls -d ${POOL}/@containers/${name} /var/lib/lxc/${name} 2>/dev/null; lxc-ls --running`);
      if (destroyed.exitCode === 0) expect(there, `round ${round}`).toBe("");
      else expect(there).toContain(`/var/lib/lxc/${name}\n${POOL}/@containers/${name}\n${name}`);
      await sh(`systemctl reset-failed; op-dbus container destroy ${name} --force --yes`);
    }
    expect(await sh(`btrfs subvolume list -o ${POOL}/@containers; ls -A ${POOL}/@containers`)).toBe("");
  });

  test("a person at a terminal is asked, and nothing is done without a yes", async () => {
    const asked = await atTerminal(node, "op-dbus container create tty", ["[socket]", ""]);
    expect(asked).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("not in this version") });
    expect((await json("container", "show", "tty")).network).toBe("socket");
    const kept = await atTerminal(node, "op-dbus container destroy tty", ["[y/N]", "n"]);
    expect(kept).toMatchObject({
      exitCode: 1,
      stdout: expect.stringMatching(
        /Remove tty and all data for good\? \[y\/N\][\s\S]*Stopped before anything was changed/,
      ),
    });
    expect((await op("container", "show", "tty")).exitCode).toBe(0);
    expect(await atTerminal(node, "op-dbus container destroy tty", ["[y/N]", "y"])).toMatchObject({ exitCode: 0 });
    expect((await op("container", "show", "tty")).exitCode).toBe(1);
    const wrong = await atTerminal(node, "op-dbus container create tty", ["[socket]", "ethernet"]);
    expect(wrong).toMatchObject({ exitCode: 2, stdout: expect.stringContaining("ethernet is no network") });
  });

  test("are stopped, killed, restarted, and looked at while they are down", async () => {
    await op("container", "create", "life", "--network", "none", "--wait");
    const boot = () => sh("lxc-attach -n life -- cat /proc/1/stat | cut -d' ' -f22");
    const first = await boot();
    expect(await op("container", "restart", "life", "--wait")).toMatchObject({
      exitCode: 0,
      stdout: "life: running\n",
    });
    expect(await boot()).not.toBe(first);
    expect(await op("container", "stop", "life", "--force")).toMatchObject({ exitCode: 0, stdout: "life: stopped\n" });
    expect(await op("container", "stop", "life")).toMatchObject({ exitCode: 0, stdout: "life: was stopped already\n" });
    // of one that is down: what its unit said
    expect((await op("container", "logs", "life")).stdout).toContain("lxc-stop: life");
    const [line = "{}"] = (await op("container", "logs", "life", "-n", "1", "--json")).stdout.split("\n");
    expect(JSON.parse(line)).toHaveProperty("MESSAGE");
    const refused = await op("container", "exec", "life", "--", "true");
    expect(refused).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("op-dbus container start life") });
    expect(await sh("systemctl is-system-running")).toBe("running\n");
    await op("container", "destroy", "life", "--yes");
  });

  test("a guest that does not answer holds nobody up who wants to stop waiting", async () => {
    expect(await op("container", "create", "mute", "--network", "none", "--wait")).toMatchObject({ exitCode: 0 });
    const mute = "mv /usr/bin/systemctl /usr/bin/was; printf '#!/bin/sh\\nsleep 1000\\n' >/usr/bin/systemctl";
    await sh(`lxc-attach -n mute -- sh -c "${mute}; chmod +x /usr/bin/systemctl"`);
    const waiting = await node.spawn(["op-dbus", "container", "start", "mute", "--wait"]);
    await expect.poll(() => sh("pgrep -f 'lxc-attach --name mute'")).not.toBe("");
    await waiting.kill("SIGTERM");
    expect((await waiting.done).exitCode).toBe(130);
    const [outcome] = (await json("audit", "log", "--lines", "1")).rows;
    expect(outcome.metadata).toMatchObject({ status: "failed", error: "interrupted" });
    await op("container", "destroy", "mute", "--force", "--yes");
  });

  test("a container does not run because a user of the host took the name of its monitor's socket", async () => {
    await op("container", "create", "squat", "forged", "--network", "none");
    // the second one's name is a line of its own in the kernel's list; PR_SET_DUMPABLE: root owns its /proc/PID then
    const take = `for my $name ("/var/lib/lxc/squat/command", "x\\n0 0 0 00010000 0 0 1 \\@/var/lib/lxc/forged/command") {
        socket(my $s, 1, 1, 0); bind($s, pack("S a*", 1, "\\0$name")) or die $!; listen($s, 5); push @kept, $s;
      } syscall(157, 4, 0, 0, 0, 0); sleep 100`;
    const squatter = await node.spawn([
      "setpriv",
      "--reuid=nobody",
      "--regid=nogroup",
      "--clear-groups",
      "perl",
      "-e",
      take,
    ]);
    await expect.poll(() => sh("grep -cE '(squat|forged)/command$' /proc/net/unix")).toBe("2\n");
    expect((await json("container", "list", "--running")).containers).toEqual([]);
    expect(await op("container", "start", "squat")).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining("not LXC's has the name of its monitor's socket"),
    });
    expect(await op("container", "destroy", "squat", "forged", "--yes")).toMatchObject({ exitCode: 0 });
    await squatter.kill("SIGKILL");
  });

  test("subvolumes that a guest made go with it, however deep, sealed, or called", async () => {
    await op("container", "create", "nest", "--network", "none", "--start");
    // the guest's own root makes them: BTRFS lets anybody, and seal what is theirs
    const made = await node.run(["lxc-attach", "-n", "nest", "--", "perl", "-e", GUEST_SUBVOLUMES]);
    expect(made).toMatchObject({ exitCode: 0, stdout: "made" });
    expect(await op("container", "destroy", "nest", "--force", "--yes")).toMatchObject({ exitCode: 0 });
    expect(await sh(`btrfs subvolume list -o ${POOL}/@containers; ls -A ${POOL}/@containers`)).toBe("");
  });

  test("what is mounted in a container's folder is never removed with it", async () => {
    await op("container", "create", "bm", "--network", "none");
    const data = `${POOL}/@containers/bm/data`;
    await sh(`mkdir -p /srv/data ${data}; echo precious >/srv/data/file; mount --bind /srv/data ${data}`);
    const refused = await op("container", "destroy", "bm", "--yes");
    expect(refused).toMatchObject({ exitCode: 1, stderr: expect.stringContaining(`umount ${data}`) });
    expect(await sh(`cat /srv/data/file; ls /var/lib/lxc`)).toBe("precious\nbm\n");
    await sh(`umount ${data}`);
    expect(await op("container", "destroy", "bm", "--yes")).toMatchObject({ exitCode: 0 });
  });

  test("a full pool fails a create with its reason and leaves nothing", async () => {
    const before = await traces();
    await op("container", "create", "before-full", "--network", "none");
    await sh(`fallocate -l $(($(stat -f -c '%a * %S' ${POOL}) - 4194304)) ${POOL}/fill; sync -f ${POOL}`);
    await sh(`dd if=/dev/urandom of=${POOL}/fill2 bs=4k status=none; sync -f ${POOL}`);
    const results = [];
    for (let count = 0; count < 3; count++)
      results.push(await op("container", "create", `full-${count}`, "--network", "none"));
    // the record can be read, and what makes room must be possible, and is on record later
    expect((await op("audit", "verify")).exitCode).toBe(0);
    expect(await op("container", "destroy", "before-full", "--yes")).toMatchObject({ exitCode: 0 });
    await sh(`rm -f ${POOL}/fill ${POOL}/fill2; sync -f ${POOL}`);
    expect(results.map(({ exitCode }) => exitCode)).toContain(1);
    for (const { exitCode, stderr } of results) {
      if (exitCode !== 0) expect(stderr).toMatch(/^error: .*(space|full)/im);
      expect(stderr).not.toContain("bug in opdbus-pve");
    }
    const made = (await json("container", "list")).containers.map(({ name }: { name: string }) => name);
    expect(made).toHaveLength(results.filter(({ exitCode }) => exitCode === 0).length);
    if (made.length > 0) await op("container", "destroy", "--yes", ...made);
    expect(await traces()).toBe(before);
    expect((await op("audit", "verify")).exitCode).toBe(0);
  });

  test("a row that somebody forged is named by verify, and shown by log", async () => {
    const database = `${POOL}/@timing/blockchain.db`;
    await sh(`cp -a ${database} /root/kept.db`);
    const forge = `new (require("node:sqlite").DatabaseSync)("${database}").exec("UPDATE operations SET timestamp = 'yesterday', target = x'00ff' WHERE id = 1")`;
    expect((await node.run(["/usr/lib/opdbus-pve/bin/node", "-e", forge])).exitCode).toBe(0);
    expect(await op("audit", "verify")).toMatchObject({ exitCode: 5, stderr: expect.stringContaining("row 1: ") });
    expect((await op("doctor")).stdout).toMatch(/BAD +audit-chain: the audit log was tampered with/);
    const shown = await op("audit", "log", "--lines", "9999");
    expect(shown).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^1 +yesterday +install_step/m) });
    await sh(`rm -f ${database}-wal ${database}-shm; cp -a /root/kept.db ${database}`);
    expect((await op("audit", "verify")).exitCode).toBe(0);
  });

  test("a record that cannot be written stops the change", async () => {
    const before = await traces();
    const database = `${POOL}/@timing/blockchain.db`;
    await sh(`cp -a ${database} /root/kept.db; echo garbage | dd of=${database} conv=notrunc bs=1 status=none`);
    expect(await op("container", "create", "unseen", "--network", "none")).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining("audit log"),
    });
    expect((await op("doctor")).stdout).toMatch(/BAD +audit/);
    expect((await node.run(["opdbus-pve", "install", "--yes"])).exitCode).toBe(3);
    await sh(`cp -a /root/kept.db ${database}`);
    await sh(`mount -o remount,ro ${POOL}`);
    const readOnly = await op("container", "create", "unseen", "--network", "none");
    expect((await op("audit", "verify")).exitCode).toBe(0);
    await sh(`mount -o remount,rw ${POOL}`);
    expect(readOnly).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("read-only") });
    expect(await traces()).toBe(before);
  });

  test("a create killed at any moment leaves nothing that the next does not clear away", async () => {
    const before = await traces();
    for (let round = 0; round < 12; round++) {
      const names = Array.from({ length: 4 }, (_, index) => `k${round}-${index}`);
      const running = await node.spawn(["op-dbus", "container", "create", ...names, "--network", "none"]);
      await new Promise((resolve) => setTimeout(resolve, 60 + Math.random() * 250));
      await running.kill("SIGKILL");
      await running.done;
    }
    await op("container", "create", "last", "--network", "none");
    const { containers } = await json("container", "list");
    expect(containers.filter((each: object) => "broken" in each)).toEqual([]);
    const left = await sh(`ls -A ${POOL}/@containers`);
    expect(left.split("\n").filter((name) => name.startsWith("."))).toEqual([]);
    const verdict = await op("audit", "verify");
    expect(verdict.exitCode).toBe(0);
    await op("container", "destroy", "--yes", ...containers.map(({ name }: { name: string }) => name));
    expect(await traces()).toBe(before);
  });

  test("start with the host when asked to, once the pool is there", async () => {
    await op("container", "create", "boot", "--network", "none", "--onboot");
    await op("container", "create", "idle", "--network", "none");
    await node.reboot();
    const order = await sh(
      "systemctl show -p ActiveEnterTimestampMonotonic --value 'var-lib-op\\x2ddbus.mount' lxc@boot.service",
    );
    const [mounted = 0, started = 0] = order.split("\n").filter(Boolean).map(Number);
    expect(mounted).toBeGreaterThan(0);
    expect(started).toBeGreaterThan(mounted);
    const running = (await json("container", "list", "--running")).containers.map(({ name }: { name: string }) => name);
    expect(running).toEqual(["boot"]);
    await op("container", "destroy", "boot", "idle", "--force", "--yes");
  });

  test("without the pool nothing is written below its mount point, and everything says so", async () => {
    await sh(`systemctl stop opdbus.service; umount ${POOL}`);
    const refused = await op("container", "create", "adrift", "--network", "none");
    expect(refused).toMatchObject({ exitCode: 3, stderr: expect.stringMatching(/not mounted[\s\S]*systemctl start/) });
    expect((await op("template", "build", "debian-base")).exitCode).toBe(3);
    expect(await sh(`ls -A ${POOL}`)).toBe("");
    expect((await node.run(["opdbus-pve", "install", "--dry-run", "--exit-code"])).exitCode).toBe(4);
    expect((await node.run(["opdbus-pve", "install", "--yes"])).exitCode).toBe(0);
    expect((await op("template", "verify", "debian-base")).exitCode).toBe(0);
  });
});
