import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type LabNode, stopNode } from "../../lab/node.ts";
import { startInstalledNode } from "../../lab/program.ts";

const POOL = "/var/lib/op-dbus";
const TEMPLATES = `${POOL}/@templates`;
const VERSION = "20260101T000000Z";
const ODD = `${TEMPLATES}/odd/versions/${VERSION}`;
const TWIN = `${ODD}/shifted-100000/rootfs`;

describe.each(["trixie", "bookworm"] as const)("twins with shifted ids on %s", (suite) => {
  const name = `shift-${suite}`;
  let node: LabNode;
  /** Of the tree with everything in it, before it was shifted. */
  let source: Entry[];

  beforeAll(async () => {
    node = await startInstalledNode(name, suite);
    await addVersion("odd", "debian-base", MAKE_ODD);
    source = await list(`${ODD}/rootfs`);
  });
  afterAll(() => stopNode(name));

  const op = (...argv: string[]) => node.run(["op-dbus", ...argv]);
  const must = async (argv: readonly string[]) => {
    const { exitCode, stdout, stderr } = await node.run(argv);
    expect(exitCode, stderr).toBe(0);
    return stdout;
  };
  const sh = (script: string) => must(["sh", "-euc", script]);
  const list = async (path: string): Promise<Entry[]> =>
    parseList(await must(["perl", "-MTime::HiRes=lstat", "-e", LIST, path]));
  /** A sealed version of a new template: another template's tree, changed by a Perl script that runs in it. */
  const addVersion = async (template: string, from: string, change: string) => {
    const folder = `${TEMPLATES}/${template}/versions/${VERSION}`;
    await sh(
      `mkdir -p ${folder}; btrfs subvolume snapshot "$(readlink -f ${TEMPLATES}/${from}/rootfs)" ${folder}/rootfs`,
    );
    await must(["env", `--chdir=${folder}/rootfs`, "perl", "-e", change]);
    await sh(`btrfs property set ${folder}/rootfs ro true; ln -sfn versions/${VERSION}/rootfs ${folder}/../../rootfs`);
    const like = JSON.parse(await sh(`cat "$(readlink -f ${TEMPLATES}/debian-base/rootfs)/../manifest.json"`));
    const write = (digest: string) => {
      const manifest = { ...like, name: template, version: VERSION, digest };
      return node.run(["tee", `${folder}/manifest.json`], { input: JSON.stringify(manifest) });
    };
    await write("");
    await write(/its digest is (\w+)/.exec((await op("template", "verify", template)).stderr)?.[1] ?? "");
  };
  const claims = () => sh(`find ${TEMPLATES} -maxdepth 2 -name '.*'`);

  test("are made once, shown, verified, and as a user namespace would have unpacked them", async () => {
    const made = await op("template", "shift", "odd", "--json");
    expect(made, made.stderr).toMatchObject({ exitCode: 0 });
    expect(JSON.parse(made.stdout)).toEqual({
      schema: 1,
      name: "odd",
      version: VERSION,
      id_start: 100_000,
      path: TWIN,
      result: "made",
    });
    expect(JSON.parse((await op("template", "shift", "odd", "--json")).stdout)).toMatchObject({ result: "found" });
    const { rows } = JSON.parse((await op("audit", "log", "--operation", "template_shift", "--json")).stdout);
    expect(rows.map(({ metadata }: { metadata: { status: string } }) => metadata.status)).toEqual(["started", "ok"]);
    const shown = JSON.parse((await op("template", "show", "odd", "--json")).stdout);
    expect(shown.twins).toEqual([{ version: VERSION, id_start: 100_000, path: TWIN }]);
    // the kernel maps the ids back for whoever has them: then it is the version, bit by bit
    expect(await op("template", "verify", "odd")).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining("its twin with ids from 100000: the same"),
    });

    const twin = await list(TWIN);
    expect(difference(twin, shifted(source))).toEqual([]);
    expect(await list(`${ODD}/rootfs`)).toEqual(source);
    // nothing outside was touched by way of a link
    expect(await sh("find / -xdev -path /proc -prune -o -uid +99999 -print")).toBe("");

    // A tar stream cannot have it all: it leaves sockets out, tar(1) cannot unpack what lies deeper than PATH_MAX,
    // and BTRFS properties are the file system's own.
    await sh(`
      mkdir -p ${POOL}/reference; chown 100000:100000 ${POOL}/reference
      tar --create --format=pax --numeric-owner --acls --xattrs --xattrs-include=security.capability '--xattrs-include=user.*' \\
        --exclude=./odd/deep --directory ${ODD}/rootfs --file=- . 2>/tmp/ignored |
      lxc-usernsexec -m b:0:100000:65536 -- tar --extract --numeric-owner --preserve-permissions --acls --xattrs \\
        --xattrs-include=security.capability '--xattrs-include=user.*' --directory ${POOL}/reference --file=-`);
    expect(await sh("cat /tmp/ignored")).toBe("tar: ./odd/socket: socket ignored\n");
    const comparable = twin
      .filter(({ path }) => path !== "odd/socket" && !/^odd\/deep(\/|$)/.test(path))
      .map((entry) =>
        Object.assign({}, entry, { attributes: entry.attributes.filter((each) => !each.startsWith("btrfs.")) }),
      );
    expect(difference(comparable, await list(`${POOL}/reference`))).toEqual([]);
  });

  test("share all their data with the version", async () => {
    const { path } = JSON.parse((await op("template", "shift", "debian-base", "--json")).stdout);
    await sh("sync");
    expect(await sh(`btrfs filesystem du --summarize --raw ${path} | awk 'NR == 2 { print $2 }'`)).toBe("0\n");
  });

  test("show a change, and are made anew then", async () => {
    await sh(`btrfs property set ${TWIN} ro false; chown -h 0 ${TWIN}/odd/setuid`);
    const mend =
      /btrfs property set \S+ ro false; (op-dbus template shift odd --template-version \S+ --id-start 100000)/;
    const opened = await op("template", "verify", "odd");
    expect(opened).toMatchObject({ exitCode: 5, stderr: expect.stringMatching(/The twin .* not sealed/) });
    await sh(`btrfs property set ${TWIN} ro true`);
    const changed = await op("template", "verify", "odd", "--json");
    expect(changed).toMatchObject({ exitCode: 5, stderr: expect.stringMatching(mend) });
    await sh(mend.exec(changed.stderr)?.[0] ?? "false");
    expect(await op("template", "verify", "odd")).toMatchObject({ exitCode: 0 });
    expect(difference(await list(TWIN), shifted(source))).toEqual([]);
    expect(await claims()).toBe("");
  });

  test.each([
    ["an owner", `chown(-1, 65536, "etc/motd") or die`, /etc\/motd has the group 65536, and only ids below 65536/],
    [
      "an ACL",
      SET +
        `set("etc/motd", "system.posix_acl_access", pack("V (vvV)5", 2, 1,6,-1, 2,6,70000, 4,4,-1, 16,6,-1, 32,4,-1))`,
      /etc\/motd has the id in its ACL 70000/,
    ],
    [
      "a capability",
      SET + `set("etc/motd", "security.capability", pack("V6", 0x03000001, 1 << 13, 0, 0, 0, 100000))`,
      /etc\/motd has the root id in its file capability 100000/,
    ],
    [
      "a name of control characters",
      `open(F, ">", "etc/\\e[31m\\n") && chown(65536, 0, "etc/\\e[31m\\n") or die`,
      /etc\/\\x1b\[31m\\x0a has the owner/,
    ],
    [
      "a subvolume",
      `system("btrfs", "subvolume", "create", "srv/inner") && die`,
      /srv\/inner is a subvolume or a mount/,
    ],
  ])("are refused for %s that cannot be shifted, before anything is done", async (_, change, message) => {
    await addVersion("bad", "debian-base", change);
    const before = await sh(`btrfs subvolume list ${POOL}`);
    expect(await op("template", "shift", "bad")).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(message) });
    expect(await sh(`btrfs subvolume list ${POOL}; ls -A ${TEMPLATES}/bad/versions/${VERSION}`)).toBe(
      `${before}manifest.json\nrootfs\n`,
    );
    expect(await claims()).toBe("");
    expect(await op("template", "remove", "bad", "--yes")).toMatchObject({ exitCode: 0 });
  });

  test("are whole or not there when their making is killed, and nothing goes on", async () => {
    for (let round = 0; round < 8; round++) {
      const idStart = String(200_000 + round * 65536);
      const running = await node.spawn(["op-dbus", "template", "shift", "odd", "--id-start", idStart]);
      await new Promise((resolve) => setTimeout(resolve, 150 + round * 90));
      await running.kill("SIGKILL");
      await running.done;
      await expect.poll(() => sh("pgrep -x perl || true")).toBe("");
    }
    for (const { id_start: idStart, path } of JSON.parse((await op("template", "show", "odd", "--json")).stdout)
      .twins) {
      expect(difference(await list(path), shifted(source, idStart))).toEqual([]);
      expect(await sh(`btrfs property get ${path} ro`)).toBe("ro=true\n");
    }
    expect(await op("template", "shift", "odd", "--id-start", "1000000")).toMatchObject({ exitCode: 0 });
    expect(await claims()).toBe("");
  });

  test("cannot be verified where root may not map their ids, and that is said", async () => {
    expect(await op("template", "verify", "odd")).toMatchObject({
      exitCode: 3,
      stderr: expect.stringMatching(/root may not map the ids \d+-\d+[^]*usermod --add-subuids/),
    });
  });

  test("go with their version", async () => {
    const removed = await op("template", "remove", "odd", "--yes");
    expect(removed, removed.stderr).toMatchObject({ exitCode: 0 });
    expect(await sh(`ls -A ${TEMPLATES}; btrfs subvolume list ${POOL} | grep -c templates/odd || true`)).toBe(
      "debian-base\n0\n",
    );
    expect(await op("template", "shift", "odd")).toMatchObject({ exitCode: 3 });
    expect(await op("template", "shift", "debian-base", "--id-start", "1000")).toMatchObject({ exitCode: 2 });
  });
});

/** What makes an entry of a tree what it is, but for its content. */
interface Entry {
  /** Latin-1, so that each byte of the name is a character. */
  readonly path: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Time of its last change, size (of a file), device number: what stays as it is. */
  readonly facts: string;
  /** Where a link points. */
  readonly target: string;
  /** The entry of the same inode that comes first. */
  readonly sameAs: string;
  /** `name=value`, the value in hex. */
  readonly attributes: readonly string[];
}

/** Reads what LIST prints. */
function parseList(text: string): Entry[] {
  const lines = text.trimEnd().split("\n").toSorted();
  const firsts = new Map<string, string>();
  return lines.map((line) => {
    const [name = "", inode = "", mode, uid, gid, facts = "", target = "", ...attributes] = line.split(" ");
    const path = Buffer.from(name, "hex").toString("latin1");
    const sameAs = firsts.get(inode) ?? path;
    firsts.set(inode, sameAs);
    const rest = { facts, target, sameAs, attributes: attributes.toSorted() };
    return Object.assign(rest, { path, mode: Number(mode), uid: Number(uid), gid: Number(gid) });
  });
}

/** What a shift by the rules makes of a tree. */
function shifted(entries: readonly Entry[], idStart = 100_000): Entry[] {
  return entries.map((entry) => {
    const attributes = entry.attributes.map((attribute) => {
      const [name = "", hex = ""] = attribute.split("=");
      return `${name}=${shiftedValue(name, Buffer.from(hex, "hex"), idStart).toString("hex")}`;
    });
    return Object.assign({}, entry, { uid: entry.uid + idStart, gid: entry.gid + idStart, attributes });
  });
}

function shiftedValue(name: string, value: Buffer, idStart: number): Buffer {
  if (name === "security.capability") {
    const flags = value.readUInt32LE(0) & 0xffffff;
    const rootId = value.length === 24 ? value.readUInt32LE(20) : 0;
    const result = Buffer.concat([value.subarray(0, 20), Buffer.alloc(4)]);
    result.writeUInt32LE(0x03000000 | flags, 0);
    result.writeUInt32LE(rootId + idStart, 20);
    return result;
  }
  if (!name.startsWith("system.posix_acl_")) return value;
  const result = Buffer.from(value);
  for (let at = 4; at < result.length; at += 8) {
    const namesSomebody = [2, 8].includes(result.readUInt16LE(at));
    if (namesSomebody) result.writeUInt32LE(result.readUInt32LE(at + 4) + idStart, at + 4);
  }
  return result;
}

/** The first entries that are not the same in both; a readable end to a comparison of thousands. */
function difference(found: readonly Entry[], wanted: readonly Entry[]): unknown[] {
  const [ours, theirs] = [found, wanted].map((entries) => new Map(entries.map((entry) => [entry.path, entry])));
  const paths = [...new Set([...found, ...wanted].map(({ path }) => path))];
  return paths
    .map((path) => ({ found: ours?.get(path), wanted: theirs?.get(path) }))
    .filter((pair) => JSON.stringify(pair.found) !== JSON.stringify(pair.wanted))
    .slice(0, 5);
}

const SET = String.raw`
use strict;
sub set {
  my ($path, $name, $value) = @_;
  syscall(189, $path, $name, $value, length $value, 0) == 0 or die "$path $name: $!"; # lsetxattr
}
`;

/** A tree with all that can be lost when owners are changed, and all that can lead out of it. */
const MAKE_ODD = `${SET}${String.raw`
use POSIX ();
use Socket;
mkdir "odd" and chdir "odd" or die $!;
sub file {
  my ($name, $mode, $uid, $gid) = @_;
  open my $file, ">", $name or die "$name: $!";
  print $file "content of $name\n" x 500;
  close $file;
  chown($uid, $gid, $name) && chmod($mode, $name) && utime(1e9 + 0.25, 1e9, $name) or die "$name: $!";
}
my $capability = pack "V5", 0x02000001, 1 << 13, 0, 0, 0;
my $access = pack "V (v v V)7", 2, 1, 6, -1, 2, 5, 33, 2, 6, 65535, 4, 4, -1, 8, 6, 50, 16, 7, -1, 32, 4, -1;

file("setuid", 04755, 0, 0);
file("setgid", 02755, 0, 50);
file("setgid-alone", 02644, 0, 50);
file("both", 06711, 33, 33);
file("sticky", 01644, 1, 1);
file("none", 0000, 65535, 65535);
file("capability", 0755, 0, 0);
set("capability", "security.capability", $capability);
file("capability-of-5", 0755, 0, 0);
set("capability-of-5", "security.capability", pack "V6", 0x03000001, 1 << 10, 0, 0, 0, 5);
file("all", 06755, 1000, 50);
set("all", "system.posix_acl_access", $access);
chmod 06775, "all";
set("all", "security.capability", $capability);
set("all", "user.note", "kept\0\xff");
mkdir "acl";
set("acl", "system.posix_acl_access", $access);
set("acl", "system.posix_acl_default", $access);
mkdir "setgid-folder"; chown 0, 50, "setgid-folder"; chmod 03775, "setgid-folder";
mkdir "empty"; chmod 0700, "empty";

link("all", "acl/all-again") && link("setuid", "setuid-again") or die $!;
symlink("/nowhere", "dangling") && link("dangling", "dangling-again") or die $!;
symlink("/etc/shadow", "absolute");
symlink("../../../../../../../../etc", "above");
symlink("/", "root");
symlink("loop", "loop");
mkdir "farm";
for my $number (1 .. 3000) { symlink($number % 2 ? "../.." : "/", "farm/$number") }

file($_, 0644, 7, 8) for "new\nline", "\xff\xfe\x80", " ", "-n", "*", "'\"\\", "0", "123", "_", "\e[31m";
POSIX::mkfifo("fifo", 0640) or die $!; chown 5, 6, "fifo";
my $socket;
socket($socket, AF_UNIX, SOCK_STREAM, 0) && bind($socket, pack_sockaddr_un("socket")) or die $!;
chmod 04755, "socket";
system("btrfs", "property", "set", "sticky", "compression", "zlib") && die;

mkdir "deep" and chdir "deep" or die $!;
for (1 .. 100) { mkdir "x" x 100 and chdir "x" x 100 or die $! }
file("bottom", 04755, 10, 10);
`}`;

/** Prints an entry a line, `.` first: what `parseList` reads. Goes down by names in folders, so that no path is too long. */
const LIST = String.raw`
use Fcntl ":mode";
my $buffer = "\0" x 65536;
sub attribute { my ($at, $name) = @_; my $got = syscall(192, $at, $name, $buffer, length $buffer); substr $buffer, 0, $got }
sub show {
  my ($name, $path) = @_;
  my (undef, $inode, $mode, undef, $uid, $gid, $device, $size, undef, $changed) = lstat $name or die "$path: $!";
  my $got = syscall(195, $name, $buffer, length $buffer);
  my @names = split /\0/, substr $buffer, 0, $got;
  my @attributes = map { "$_=" . unpack "H*", attribute($name, $_) } @names;
  my $facts = sprintf "%.6f/%s/%s", $changed, S_ISREG($mode) ? $size : "-", $device;
  my $target = S_ISLNK($mode) ? unpack "H*", readlink $name : "";
  print join(" ", unpack("H*", $path), $inode, $mode, $uid, $gid, $facts, $target, @attributes), "\n";
  return unless S_ISDIR($mode);
  chdir $name or die "$path: $!";
  opendir my $list, "." or die "$path: $!";
  my @inside = grep { !/^\.\.?\z/ } readdir $list;
  closedir $list;
  show($_, $path eq "." ? $_ : "$path/$_") for @inside;
  chdir ".." or die $! if $path ne ".";
}
chdir $ARGV[0] or die "$ARGV[0]: $!";
show(".", ".");
`;
