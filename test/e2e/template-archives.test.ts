import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type LabNode, stopNode } from "../../lab/node.ts";
import { startInstalledNode } from "../../lab/program.ts";
import { shellText } from "../../src/host/command-failed.ts";
import { unpackArgv } from "../../src/templates/tree-archive.ts";
import { HOSTILE } from "../hostile-archives.ts";
import { tar } from "../tar-writer.ts";

const POOL = "/var/lib/op-dbus";
const TEMPLATES = `${POOL}/@templates`;

// Everything on the node's disk outside the pool, but for what any command may change.
const REST = `find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/tmp -o -path /var/log -o -path /var/cache -o -path ${POOL} -o -path /root/hostile -o -path /var/lib/opdbus-pve -o -path /var/lib/systemd \\) -prune -o -not -path /root -not -path /var/lib -printf '%p %y %m %U %s %T@ %i %n %l\\n' | sort | sha256sum`;

// ioctl SUBVOL_CREATE of linux/btrfs.h
const SUBVOLUME = `use Fcntl; sysopen(my $d, "/srv", O_RDONLY | O_DIRECTORY) or die $!; my $a = pack("q a4088", 0, "inner"); ioctl($d, 0x5000940e, $a) or die $!;`;

/** Serves a file as a real server does, with ranges; the first answer is cut in the middle. */
const SERVER = `
import { createServer } from "node:http";
import { readFileSync, appendFileSync } from "node:fs";
const content = readFileSync("/root/tiny.tar.gz");
let count = 0;
createServer((request, response) => {
  count += 1;
  const { range } = request.headers;
  appendFileSync("/root/asked", request.url + " " + (range ?? "all") + "\\n");
  if (request.url === "/moved") return response.writeHead(302, { location: "/tiny.tar.gz" }).end();
  const start = Number(/^bytes=(\\d+)-$/.exec(range ?? "")?.[1] ?? 0);
  const body = content.subarray(start);
  const headers = { "content-length": body.length, "content-range": "bytes " + start + "-" + (content.length - 1) + "/" + content.length };
  response.writeHead(range === undefined ? 200 : 206, headers);
  if (count > 2) return response.end(body);
  response.write(body.subarray(0, body.length >> 1), () => setTimeout(() => response.destroy(), 200));
}).listen(8099, "127.0.0.1");
`;

describe("archives of templates on an installed node", () => {
  let node: LabNode;

  beforeAll(async () => {
    node = await startInstalledNode("template-archives");
    await mkdir(join(node.root, "etc/opdbus/templates.d"), { recursive: true });
    await node.run([
      "apt-get",
      "install",
      "-qqy",
      "--no-install-recommends",
      "busybox-static",
      "xz-utils",
      "libcap2-bin",
      "attr",
      "acl",
    ]);
  });
  afterAll(() => stopNode("template-archives"));

  const op = (...argv: string[]) => node.run(["op-dbus", ...argv]);
  const sh = async (script: string) => (await node.run(["sh", "-c", script])).stdout;
  const json = async (...argv: string[]) => JSON.parse((await op(...argv, "--json")).stdout);
  const traces = () =>
    sh(
      `ls -A ${TEMPLATES} ${TEMPLATES}/*; ls -AR /var/lib/opdbus-pve/build; btrfs subvolume list -o ${TEMPLATES} | wc -l`,
    );

  test("are the same bytes at each export, hold what was sealed, and come back as the same content", async () => {
    const { digest, version } = await json("template", "show", "debian-base");
    const file = `/root/debian-base_${version}_amd64.tar.zst`;
    const exported = await json("template", "export", "debian-base");
    expect(exported).toMatchObject({ schema: 1, name: "debian-base", version, digest, file });
    expect(await sh(`cd /root; sha256sum --check ${file}.sha256; stat -c %a ${file}`)).toBe(
      `debian-base_${version}_amd64.tar.zst: OK\n644\n`,
    );
    const device = await op("template", "export", "debian-base", "--output", "/dev/null");
    expect(device).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("/dev/null: it is no plain file") });
    expect(await sh("stat -c %F /dev/null; ls /dev | grep -c '^.new-' || true")).toBe("character special file\n0\n");
    expect(await sh("taskset -c 0 op-dbus template export debian-base --output - | sha256sum")).toContain(
      exported.sha256,
    );
    // the archive in it is what the digest is of, whatever compressed it
    expect(await sh(`zstd -dc ${file} | sha256sum`)).toContain(digest);
    const listed = await sh(`tar --numeric-owner -tvf ${file}`);
    expect(listed).toMatch(/^drwxr-xr-x 0\/0 .* \.\/$/m);
    expect(listed).not.toMatch(/^[bc]/m);
    expect(await sh(`tar -tf ${file} | grep -vc '^\\./'; tar -tf ${file} | grep -c '\\.\\./'`)).toBe("0\n0\n");

    const imported = await json("template", "import", file, "--name", "back", "--sha256", exported.sha256);
    expect(imported).toMatchObject({
      name: "back",
      version,
      digest,
      origin: { type: "import", sha256: exported.sha256, claims: { name: "debian-base", version } },
    });
    expect(Object.keys(imported.packages).length).toBeGreaterThan(100);
    expect((await op("template", "verify", "back")).exitCode).toBe(0);
    const again = await op("template", "import", file, "--name", "back");
    expect(again).toMatchObject({ exitCode: 0, stderr: expect.stringContaining("again, bit by bit") });
    expect(await sh(`ls -A ${TEMPLATES}/back/rootfs/dev`)).toBe("");
    expect(
      (await op("container", "create", "from-back", "--template", "back", "--network", "none", "--wait")).stdout,
    ).toContain("from-back: running");
    await op("container", "destroy", "from-back", "--force", "--yes");
  });

  test("are told by what they hold, not by what they are called, and read from a pipe", async () => {
    await sh(
      "mkdir -p /root/t/etc; cd /root/t/etc; echo hi >motd; setfattr -n user.note -v kept motd; setcap cap_net_raw+ep motd; setfacl -m u:1234:r motd",
    );
    await sh(
      `cd /root; tar -C t --format=pax --acls --xattrs --xattrs-include='user.*' --xattrs-include=security.capability -cf plain.zip .
       gzip -kc plain.zip >a.tar; xz -kc plain.zip >b.tar; zstd -qc plain.zip >c.tar.gz`,
    );
    const digests = new Set<string>();
    for (const file of ["plain.zip", "a.tar", "b.tar", "c.tar.gz"]) {
      const manifest = JSON.parse(await sh(`op-dbus template import - --name kinds --json </root/${file}`));
      digests.add(manifest.digest);
    }
    expect(digests.size).toBe(1);
    expect(await sh(`cat ${TEMPLATES}/kinds/rootfs/etc/motd; ls ${TEMPLATES}/kinds/versions | wc -l`)).toBe("hi\n1\n");
    const motd = `${TEMPLATES}/kinds/rootfs/etc/motd`;
    expect(
      await sh(`getfattr --only-values -n user.note ${motd}; echo; getcap ${motd}; getfacl -n ${motd} | grep 1234`),
    ).toMatch(/^kept\n.*cap_net_raw=ep\nuser:1234:r--\n$/);
    await op("template", "export", "kinds", "--output", "/root/kinds.tar.zst");
    expect((await json("template", "import", "/root/kinds.tar.zst", "--name", "kinds2")).digest).toBe([...digests][0]);
    for (const name of ["kinds", "kinds2"]) await op("template", "remove", name, "--yes");
  });

  test("that are hostile are refused, all of them, and nothing of them reaches the host", async () => {
    await mkdir(join(node.root, "root/hostile"));
    for (const [index, { archive }] of HOSTILE.entries())
      await writeFile(join(node.root, `root/hostile/${index}.tar`), archive);
    const before = [await sh(REST), await traces()];
    const codes = await sh(
      `for n in $(seq 0 ${HOSTILE.length - 1}); do op-dbus template import /root/hostile/$n.tar --name hostile >/root/hostile/out 2>&1; echo "$n $?"; done`,
    );
    expect(codes.trim().split("\n")).toEqual(HOSTILE.map((_, index) => `${index} 5`));
    expect([await sh(REST), await traces()]).toEqual(before);
    expect((await op("audit", "verify")).exitCode).toBe(0);
  });

  test("that are hostile cannot leave the tree either where nobody looked through them first", async () => {
    const jail = `${POOL}/@state/jail`;
    const before = await sh(REST);
    const script = `for n in $(seq 0 ${HOSTILE.length - 1}); do mkdir -p ${jail}/$n; ${shellText(unpackArgv("JAIL")).replace("JAIL", `${jail}/$n`)} </root/hostile/$n.tar >>/root/hostile/out 2>&1; done`;
    await sh(script);
    expect(await sh(REST)).toBe(before);
    expect(
      await sh(`find / -xdev -name 'opdbus-escaped*' -not -path '${jail}/*'; find ${jail} -type b -o -type c`),
    ).toBe("");
    // what was unpacked is of the archives alone
    expect(await sh(`grep -rl '^root:' ${jail}`)).toBe("");
    expect(Number(await sh(`find ${jail} -type f | wc -l`))).toBeGreaterThan(5);
    await sh(`rm -rf ${jail} /root/hostile`);
  });

  test("with a secret or an identity in them are refused after they were unpacked, and leave no trace", async () => {
    const before = await traces();
    const cases = [
      ["etc/ssh/ssh_host_ed25519_key", "secret", "an SSH host key"],
      ["etc/machine-id", `${"a".repeat(32)}\n`, "a machine id"],
      ["etc/netmaker/join-key", "secret", "a Netmaker join key"],
    ] as const;
    for (const [name, data, what] of cases) {
      await writeFile(join(node.root, "root/secret.tar"), tar({ name, data }));
      const refused = await op("template", "import", "/root/secret.tar", "--name", "secret");
      expect(refused).toMatchObject({
        exitCode: 1,
        stderr: expect.stringContaining(`The template holds ${what} (/${name})`),
      });
    }
    // an empty machine id, and Debian's link to it, are none
    const usual = tar(
      { name: "etc/machine-id" },
      { name: "var/lib/dbus/machine-id", type: "2", linkName: "/etc/machine-id" },
    );
    await writeFile(join(node.root, "root/usual.tar"), usual);
    expect(await op("template", "import", "/root/usual.tar", "--name", "usual")).toMatchObject({ exitCode: 0 });
    await op("template", "remove", "usual", "--yes");
    expect(await traces()).toBe(before);
  });

  test("that are cut off while they come leave no trace, or are cleared away", async () => {
    const before = await traces();
    const file = (await sh("ls /root/debian-base_*.zst")).trim();
    const stopped = await node.spawn(["sh", "-c", `exec op-dbus template import ${file} --name cut`]);
    await sh(`timeout 60 sh -c 'until ls ${TEMPLATES}/cut/.new-*/rootfs/usr >/dev/null 2>&1; do sleep 0.02; done'`);
    await stopped.kill("SIGINT");
    expect((await stopped.done).exitCode).toBe(130);
    expect(await traces()).toBe(before);
    const killed = await node.spawn(["sh", "-c", `exec op-dbus template import ${file} --name cut`]);
    await sh(`timeout 60 sh -c 'until ls ${TEMPLATES}/cut/.new-*/rootfs/usr >/dev/null 2>&1; do sleep 0.02; done'`);
    await killed.kill("SIGKILL");
    await killed.done;
    expect(await op("template", "import", file, "--name", "cut")).toMatchObject({
      exitCode: 0,
      stderr: expect.stringContaining("which a build that was cut off had left"),
    });
    await op("template", "remove", "cut", "--yes");
    expect(await traces()).toBe(before);
  });

  test("make a template by a definition: downloaded in pieces, finished by its commands, and a container runs it", async () => {
    await sh(`cd /root; mkdir -p bb/bin bb/sbin bb/etc bb/root bb/proc bb/sys bb/dev bb/run; cp /usr/bin/busybox bb/bin/
      for name in $(busybox --list | grep -vx busybox); do ln -sf /bin/busybox bb/bin/$name; done; ln -sf /bin/busybox bb/sbin/init
      printf '::respawn:/bin/sleep 1000\\n' >bb/etc/inittab; echo root:x:0:0::/root:/bin/sh >bb/etc/passwd
      mknod bb/dev/null c 1 3; tar -C bb -czf tiny.tar.gz .`);
    await writeFile(join(node.root, "root/server.mjs"), SERVER);
    const server = await node.spawn(["/usr/lib/opdbus-pve/bin/node", "/root/server.mjs"]);
    const sha256 = (await sh("sha256sum /root/tiny.tar.gz")).slice(0, 64);
    const define = (rest: string) =>
      writeFile(
        join(node.root, "etc/opdbus/templates.d/tiny.toml"),
        `description = "busybox"\ncommands = ["id -u >/etc/built-as", "test -c /dev/null && cat /proc/self/uid_map >/etc/map"]\n[[files]]\npath = "/etc/motd"\ncontent = "tiny"\n[source]\ntype = "archive"\n${rest}\n`,
      );
    await define('url = "http://127.0.0.1:8099/moved"');
    await sh("timeout 20 sh -c 'until grep -q 1F9F /proc/net/tcp; do sleep 0.1; done'");
    expect(await op("template", "build", "tiny")).toMatchObject({
      exitCode: 3,
      stderr: expect.stringContaining("--sha256 HEX"),
    });
    const built = await node.run(["op-dbus", "template", "build", "tiny", "--sha256", sha256, "--json"], {
      env: { SOURCE_DATE_EPOCH: "1795000000" },
    });
    expect(built).toMatchObject({ exitCode: 0 });
    expect(JSON.parse(built.stdout)).toMatchObject({
      origin: { type: "archive", url: "http://127.0.0.1:8099/moved", sha256 },
    });
    expect(await sh("cat /root/asked")).toMatch(
      /^\/moved all\n\/tiny.tar.gz all\n\/moved bytes=\d+-\n\/tiny.tar.gz bytes=\d+-\n/,
    );
    const rootfs = `${TEMPLATES}/tiny/rootfs`;
    expect(
      await sh(
        `cat ${rootfs}/etc/built-as ${rootfs}/etc/motd; ls -A ${rootfs}/dev; awk '{print $2}' ${rootfs}/etc/map`,
      ),
    ).toBe("0\ntiny100000\n");
    const twice = await node.run(["op-dbus", "template", "build", "tiny", "--sha256", sha256], {
      env: { SOURCE_DATE_EPOCH: "1795000000" },
    });
    expect(twice.stderr).toContain("again, bit by bit");
    await op("container", "create", "tiny", "--template", "tiny", "--network", "none", "--start");
    expect((await op("container", "exec", "tiny", "--", "cat", "/etc/motd")).stdout).toBe("tiny");
    // busybox's init has a signal of its own for it
    expect(await op("container", "stop", "tiny")).toMatchObject({ exitCode: 0, stdout: "tiny: stopped\n" });
    await op("container", "destroy", "tiny", "--yes");

    // a command that says nothing and does not end, and nobody who waits for it
    await sh(
      `sed -i 's/^commands = .*/commands = ["sleep 4243"]/; s,^url = .*,url = "/root/tiny.tar.gz"\\nsha256 = "${sha256}",' /etc/opdbus/templates.d/tiny.toml`,
    );
    for (const signal of ["SIGINT", "SIGKILL"] as const) {
      const building = await node.spawn(["op-dbus", "template", "build", "tiny"]);
      await sh("timeout 60 sh -c 'until pgrep -f \"^sleep 4243\"; do sleep 0.1; done'");
      await building.kill(signal);
      await building.done;
      expect(
        await sh("timeout 10 sh -c 'while pgrep -f \"^sleep 4243\"; do sleep 0.1; done' && echo gone"),
        signal,
      ).toMatch(/gone\n$/);
    }

    await define(`url = "/root/tiny.tar.gz"\nsha256 = "${"0".repeat(64)}"`);
    expect(await op("template", "build", "tiny")).toMatchObject({
      exitCode: 5,
      stderr: expect.stringContaining("is not what was wanted"),
    });
    await define(`url = "/root/tiny.tar.gz"\nsha256 = "${sha256}"`);
    await sh("sed -i 's/id -u/no-such-command/' /etc/opdbus/templates.d/tiny.toml");
    expect(await op("template", "build", "tiny")).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining("no-such-command"),
    });
    expect(await sh("ls -A /var/lib/opdbus-pve/build")).toBe("");
    await server.kill("SIGKILL");
    await server.done;
  });

  test("of Ubuntu are built with Ubuntu's key, from its own mirror", async () => {
    expect(await op("template", "build", "ubuntu-base")).toMatchObject({
      exitCode: 3,
      stderr: expect.stringContaining("apt-get install --no-install-recommends ubuntu-keyring"),
    });
    // a stand-in: Debian's archive in the place of Ubuntu's, signed by what lies where Ubuntu's key would
    await sh("cp /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/ubuntu-archive-keyring.gpg");
    const uri = (
      await sh("apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: trixie' | head -1")
    ).trim();
    await sh(
      `printf '[templates]\\nubuntu_mirror = "${uri.replace(/\/+$/, "")}"\\nmirror = "http://127.0.0.1:9/no"\\n' >/etc/opdbus/conf.d/ubuntu.toml`,
    );
    const shipped = await sh("cat /usr/lib/opdbus-pve/templates/ubuntu-base.toml");
    const text = shipped
      .replace(/suites = .*/, 'suites = ["trixie"]\npockets = []')
      .replace(/components = .*/, 'components = ["main"]')
      .replace(/packages = \[[^\]]*\]/, 'packages = ["systemd", "tzdata", "openssh-server"]');
    await writeFile(join(node.root, "etc/opdbus/templates.d/ubuntu-like.toml"), text);
    expect(await op("template", "build", "ubuntu-like")).toMatchObject({ exitCode: 0 });
    expect(await sh(`cat ${TEMPLATES}/ubuntu-like/rootfs/etc/apt/sources.list`)).toContain(
      "signed-by=/usr/share/keyrings/ubuntu-archive-keyring.gpg",
    );
    await sh("rm /etc/opdbus/conf.d/ubuntu.toml /usr/share/keyrings/ubuntu-archive-keyring.gpg");
    await op("template", "remove", "ubuntu-like", "--yes");
  });

  test("are made of containers, without what made those what they were", async () => {
    await op("container", "create", "source", "--network", "none", "--wait");
    expect(await op("container", "publish", "source", "app")).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining("source is running"),
    });
    const inside = `echo app >/srv/app; mkdir -p /etc/netclient; echo opdbus-secret >/etc/netclient/key; echo opdbus-secret >/root/.bash_history
      mkfifo /srv/pipe; mkdir -p -m 700 /root/.ssh; echo key >/root/.ssh/authorized_keys; rm -rf /var/lib/dhcp; ln -s /root/precious /var/lib/dhcp; ln -s /root/precious /tmp/x; ln -sf /root/precious /etc/hostname; cat /etc/machine-id`;
    await sh("mkdir /root/precious; echo kept >/root/precious/file");
    const id = (await op("container", "exec", "source", "--", "sh", "-c", inside)).stdout.trim();
    expect(id).toMatch(/^[0-9a-f]{32}$/);
    await op("container", "exec", "source", "--", "perl", "-e", SUBVOLUME);
    await op("container", "stop", "source");
    const before = await sh(`find ${POOL}/@containers/source/rootfs -printf '%P %s %T@\\n' | sort | sha256sum`);
    const published = await op("container", "publish", "source", "app", "--json");
    const manifest = JSON.parse(published.stdout);
    expect(published.stderr).toContain("warning: the subvolume /srv/inner in the container is not published");
    expect(published.stderr).toContain("warning: the keys in /root/.ssh/authorized_keys are published, too");
    expect(manifest).toMatchObject({ name: "app", origin: { type: "container", container: "source" } });
    expect(await sh(`find ${POOL}/@containers/source/rootfs -printf '%P %s %T@\\n' | sort | sha256sum`)).toBe(before);
    expect(await sh("cat /root/precious/file; ls -A /root/precious")).toBe("kept\nfile\n");
    const rootfs = `${TEMPLATES}/app/rootfs`;
    expect(
      await sh(
        `cat ${rootfs}/srv/app; grep -rlE '${id}|opdbus-secret' ${rootfs}/etc ${rootfs}/root ${rootfs}/var; ls ${rootfs}/etc/ssh | grep host; stat -c %s ${rootfs}/etc/machine-id`,
      ),
    ).toBe("app\n0\n");
    expect(JSON.parse(await sh(`cat ${rootfs}/etc/opdbus/template.json`))).toMatchObject({
      name: "app",
      version: manifest.version,
    });
    await op("container", "create", "clone", "--template", "app", "--network", "none", "--wait");
    const clone = (
      await op(
        "container",
        "exec",
        "clone",
        "--",
        "sh",
        "-c",
        "hostname; cat /etc/hostname /srv/app /etc/machine-id; ls /etc/ssh | grep -c host_; touch /srv/inner/x && ls /srv/inner",
      )
    ).stdout;
    expect(clone).toMatch(/^clone\nclone\napp\n[0-9a-f]{32}\n6\nx\n$/);
    expect(clone).not.toContain(id);
    await op("template", "export", "app", "--output", "/root/app.tar.zst");
    expect(await json("template", "import", "/root/app.tar.zst", "--name", "app2")).toMatchObject({
      digest: manifest.digest,
      version: manifest.version,
    });
    await op("container", "destroy", "clone", "source", "--force", "--yes");
  });

  test("and other templates of the admin are left alone by a refresh, and old versions go when asked to", async () => {
    const { templates } = await json("template", "refresh");
    const results = Object.fromEntries(
      templates.map((each: { name: string; result: string }) => [each.name, each.result]),
    );
    expect(results).toEqual({
      app: "left alone",
      app2: "left alone",
      back: "left alone",
      "debian-base": expect.stringMatching(/^(unchanged|rebuilt)$/),
      tiny: "left alone",
    });
    await writeFile(join(node.root, "root/one.tar"), tar({ name: "etc/one" }));
    await op("template", "import", "/root/one.tar", "--name", "app");
    type Listed = { name: string; current: string; versions: string[] };
    const listed = async () =>
      (await json("template", "list")).templates.find(({ name }: Listed) => name === "app") as Listed;
    const [older = "", newer = ""] = (await listed()).versions;
    expect(await op("template", "use", "app", older)).toMatchObject({
      exitCode: 0,
      stdout: `app: ${older} is the current version\n`,
    });
    expect((await listed()).current).toBe(older);
    expect(await op("template", "use", "app", newer)).toMatchObject({ exitCode: 0 });
    expect(await op("template", "use", "app", "yesterday")).toMatchObject({ exitCode: 2 });
    const looked = await json("template", "prune", "app", "--keep", "1", "--dry-run");
    expect(looked).toMatchObject({ dry_run: true, templates: [{ name: "app", removed: [expect.any(String)] }] });
    expect(
      (await json("template", "list")).templates.find((each: { name: string }) => each.name === "app").versions,
    ).toHaveLength(2);
    expect(await op("template", "prune", "app", "--keep", "1")).toMatchObject({ exitCode: 2 });
    expect(await op("template", "prune", "app", "--keep", "1", "--yes")).toMatchObject({ exitCode: 0 });
    expect(await sh(`ls ${TEMPLATES}/app/versions | wc -l`)).toBe("1\n");
    expect((await op("audit", "verify")).exitCode).toBe(0);
  });
});
