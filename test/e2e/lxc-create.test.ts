import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type LabNode, stopNode } from "../../lab/node.ts";
import { startInstalledNode } from "../../lab/program.ts";

const CONTAINERS = "/var/lib/op-dbus/@containers";

describe.each(["trixie", "bookworm"] as const)("LXC's own commands on %s", (suite) => {
  const nodeName = `lxc-create-${suite}`;
  let node: LabNode;

  beforeAll(async () => {
    node = await startInstalledNode(nodeName, suite);
  });
  afterAll(() => stopNode(nodeName));

  const op = (...argv: string[]) => node.run(["op-dbus", ...argv]);
  const sh = async (script: string) => (await node.run(["sh", "-c", script])).stdout;
  const json = async (...argv: string[]) => JSON.parse((await op(...argv, "--json")).stdout);
  const lxcCreate = (...argv: string[]) => node.run(["lxc-create", "-t", "debian-base", "-n", ...argv]);
  const traces = () => sh(`ls -A /var/lib/lxc ${CONTAINERS} /srv; btrfs subvolume list -o ${CONTAINERS}`);

  test("lxc-create makes a container of ours, with what comes after --", async () => {
    const made = await lxcCreate("web-01", "--", "--network", "none", "--memory", "512");
    expect(made).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("web-01: created from debian-base ") });
    expect(made.stderr).not.toContain("lxc-create:");
    expect(await json("container", "show", "web-01")).toMatchObject({ network: "none", memory_mib: 512 });
    expect(await sh(`ls -A ${CONTAINERS}/web-01; readlink /var/lib/lxc/web-01; lxc-ls -1`)).toBe(
      `config\ncontainer.json\nrootfs\n${CONTAINERS}/web-01\nweb-01\n`,
    );
    expect(await sh(`stat -c %a ${CONTAINERS}/web-01/config ${CONTAINERS}/web-01`)).toBe("600\n700\n");
    expect((await json("audit", "log", "--lines", "1")).rows[0]).toMatchObject({
      operation: "container_create",
      metadata: { status: "ok" },
    });
    expect(await op("container", "start", "web-01", "--wait")).toMatchObject({ exitCode: 0 });
    expect(await sh("lxc-attach -n web-01 -- hostname")).toBe("web-01\n");
    expect((await op("doctor")).stdout).not.toContain("web-01");
    expect(await op("container", "destroy", "web-01", "--force", "--yes")).toMatchObject({ exitCode: 0 });
  });

  test("a container can be started at once; if it cannot, it is there all the same", async () => {
    expect(await lxcCreate("now", "--", "--network", "none", "--wait")).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining("now: running"),
    });
    await sh("mv /usr/bin/systemctl /usr/bin/systemctl.off");
    const notStarted = await lxcCreate("later", "--", "--network", "none", "--start");
    await sh("mv /usr/bin/systemctl.off /usr/bin/systemctl");
    expect(notStarted).toMatchObject({ exitCode: 0, stderr: expect.stringContaining("systemctl") });
    expect(await op("container", "start", "later", "--wait")).toMatchObject({ exitCode: 0 });
    expect(await op("container", "destroy", "now", "later", "--force", "--yes")).toMatchObject({ exitCode: 0 });
  });

  test("lxc-destroy removes all of it, on record, and never one that runs", async () => {
    const before = await traces();
    await lxcCreate("old", "--", "--network", "none", "--start");
    expect((await node.run(["lxc-destroy", "-n", "old"])).exitCode).not.toBe(0);
    expect(await json("container", "show", "old")).toMatchObject({ running: true });
    expect(await node.run(["lxc-destroy", "-f", "-n", "old"])).toMatchObject({ exitCode: 0 });
    expect(await traces()).toBe(before);
    await op("container", "create", "ours", "--network", "none");
    expect(await node.run(["lxc-destroy", "-n", "ours"])).toMatchObject({ exitCode: 0 });
    expect(await traces()).toBe(before);
    const { rows } = await json("audit", "log", "--operation", "container_destroy", "--lines", "1");
    expect(rows[0]).toMatchObject({ target: "ours", metadata: { status: "ok" } });
  });

  test("lxc-destroy of a copy does not remove what it was copied from", async () => {
    await op("container", "create", "original", "--network", "none");
    await sh("mkdir -p /srv/lxc/original; cp /var/lib/lxc/original/config /srv/lxc/original/config");
    expect((await node.run(["lxc-destroy", "-P", "/srv/lxc", "-n", "original"])).exitCode).not.toBe(0);
    await sh(
      "mkdir /var/lib/lxc/copy; sed 's/uts.name = .*/uts.name = copy/' /srv/lxc/original/config >/var/lib/lxc/copy/config",
    );
    expect((await node.run(["lxc-destroy", "-n", "copy"])).exitCode).not.toBe(0);
    await sh("rm -r /var/lib/lxc/copy /srv/lxc/original");
    expect(await op("container", "start", "original", "--wait")).toMatchObject({ exitCode: 0 });
    expect(await op("container", "destroy", "original", "--force", "--yes")).toMatchObject({ exitCode: 0 });
  });

  test("lxc-destroy leaves a container alone whose removal is refused", async () => {
    await op("container", "create", "kept", "--network", "none");
    await sh(`mkdir ${CONTAINERS}/kept/rootfs/mnt/x; mount -t tmpfs none ${CONTAINERS}/kept/rootfs/mnt/x`);
    expect((await node.run(["lxc-destroy", "-n", "kept"])).exitCode).not.toBe(0);
    expect(await sh(`umount ${CONTAINERS}/kept/rootfs/mnt/x; ls ${CONTAINERS}/kept/rootfs/etc/passwd`)).toMatch(
      "passwd",
    );
    expect(await op("container", "start", "kept", "--wait")).toMatchObject({ exitCode: 0 });
    // nor does it, where op-dbus is not there to do it
    await op("container", "stop", "kept");
    await sh("mv /usr/bin/op-dbus /root/");
    expect((await node.run(["lxc-destroy", "-n", "kept"])).exitCode).not.toBe(0);
    await sh("mv /root/op-dbus /usr/bin/");
    expect(await op("container", "destroy", "kept", "--yes")).toMatchObject({ exitCode: 0 });
  });

  test.each([
    ["no network", ["x"], /Which network is not said/],
    ["an option that there is not", ["x", "--", "--nope"], /unknown option '--nope'/],
    ["a name that is none of ours", ["Web_01", "--", "--network", "none"], /as a container name/],
    ["more than one name", ["x", "--", "--network", "none", "y"], /one container, in \/var\/lib\/lxc\/x, and not y, x/],
    ["another place", ["x", "-P", "/srv/lxc", "--", "--network", "none"], /and not x in \/srv\/lxc\/x/],
    ["another store", ["x", "-B", "loop", "--fssize", "20M", "--", "--network", "none"], /not what lxc-create leaves/],
    ["ids that are mapped", ["x", "-f", "/root/mapped", "--", "--network", "none"], /lxc-create -f \/dev\/null/],
    ["a template that there is not", ["x", "--", "--network", "none", "--template", "nope"], /no template nope/],
  ])("lxc-create with %s says why, and leaves nothing", async (_, argv, message) => {
    await sh("for kind in u g; do echo lxc.idmap = $kind 0 100000 65536; done >/root/mapped");
    await sh("mkdir -p /srv/lxc");
    const before = await traces();
    const refused = await lxcCreate(...argv);
    expect(refused).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(message) });
    expect(await traces()).toBe(before);
  });

  test("lxc-create does not touch a container of ours that it does not see", async () => {
    await op("container", "create", "hidden", "--network", "none");
    await sh("rm /var/lib/lxc/hidden");
    expect(await lxcCreate("hidden", "--", "--network", "none")).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining("There is a container hidden already"),
    });
    expect(await op("container", "start", "hidden")).toMatchObject({ exitCode: 0 });
    expect(await op("container", "destroy", "hidden", "--force", "--yes")).toMatchObject({ exitCode: 0 });
  });

  test.each([
    ["Ctrl-C", "INT", "group"],
    ["the death of op-dbus", "KILL", "op-dbus"],
  ])("lxc-create that meets %s leaves a whole container or nothing", async (_, signal, whom) => {
    const before = await traces();
    for (let round = 0; round < 10; round++) {
      const argv = ["lxc-create", "-t", "debian-base", "-n", `k${round}`, "--", "--network", "none"];
      await node.run(["perl", "-e", SIGNAL_LATER, signal, whom, String(round * 0.025), ...argv]);
      await expect.poll(() => sh("pgrep -f [/]lxc-debian-base"), { timeout: 10_000 }).toBe("");
    }
    await op("container", "create", "last", "--network", "none");
    const { containers } = await json("container", "list");
    expect(containers.filter((each: object) => "broken" in each)).toEqual([]);
    const names = containers.map(({ name }: { name: string }) => name);
    const found = (await sh(`ls -A /var/lib/lxc ${CONTAINERS}`)).split("\n").filter((name) => /^[.k]/.test(name));
    expect(found.filter((name) => !names.includes(name))).toEqual([]);
    await op("container", "destroy", "--yes", ...names);
    expect(await traces()).toBe(before);
    expect((await op("audit", "verify")).exitCode).toBe(0);
  });

  test("lxc-create shows what can come after --", async () => {
    expect((await node.run(["lxc-create", "-t", "debian-base", "--help"])).stdout).toContain("--ssh-key <file>");
  });
});

/** Starts a command in a process group of its own, as a shell does, and signals it some time after op-dbus was started by it. */
const SIGNAL_LATER = `
my ($signal, $whom, $delay, @argv) = @ARGV;
my $pid = fork // die $!;
if ($pid == 0) { setpgrp; exec @argv }
my $found;
until ($found = qx(pgrep -f [f]or-lxc-create)) { exit if waitpid $pid, 1 }
select undef, undef, undef, $delay;
kill $signal, $whom eq "group" ? -$pid : split " ", $found;
waitpid $pid, 0;`;
