import { afterAll, beforeAll, expect, test } from "vitest";
import { type LabNode, stopNode } from "../../lab/node.ts";
import { startInstalledNode } from "../../lab/program.ts";

// Every secret begins so. Patterns are written so that they do not find themselves in a command line.
const PATTERN = "sesam[e]-[a-z]+";
const OWN = "/etc/opdbus/templates.d/own.toml";
const SETTINGS = "/etc/opdbus/conf.d/typed.toml";

let node: LabNode;
beforeAll(async () => {
  node = await startInstalledNode("secrets");
});
afterAll(() => stopNode("secrets"));

const sh = async (script: string) => (await node.run(["sh", "-c", script])).stdout;
const write = (path: string, text: string) =>
  node.run(["sh", "-c", `umask 077; mkdir -p "$(dirname ${path})"; cat >${path}`], { input: text });

// Command lines and environments of whatever runs on the node meanwhile. What the admin typed has the environment
// that he gave it, and so has the program; what that starts is not to have it. What is run in a container is typed.
const WATCH = String.raw`$| = 1;
  sub text { open(my $handle, "<", $_[0]) or return ""; local $/; <$handle> // "" }
  while (1) {
    for my $file (glob("/proc/[0-9]*/cmdline"), glob("/proc/[0-9]*/environ")) {
      my ($pid, $what) = $file =~ m{(\d+)/(\w+)};
      # first, so that what is read next is of this program, or of a later one
      my $command = text("/proc/$pid/cmdline");
      my $text = text($file);
      next if $text !~ /sesam[e]-/;
      my ($parent) = text("/proc/$pid/stat") =~ /\) \S (\d+)/ or next;
      # between fork and exec it is what it was forked from
      next if $command eq "" || $command eq text("/proc/$parent/cmdline");
      next if $what eq "environ" && grep { text("/proc/$_/cmdline") =~ m{^/bin/sh\0/root/typed} } $pid, $parent;
      $command =~ tr/\0/ /;
      print "$what $1: $command\n" while $text =~ /(sesam[e]-(?!typed)[a-z]+)/g;
    }
  }`;

const SERVE = `require("http").createServer((request, response) => {
  if (!request.url.endsWith("?token=sesame-token")) return response.writeHead(403).end();
  require("fs").createReadStream("/srv/base.tar.zst").pipe(response);
}).listen(8099, "127.0.0.1", () => console.log("ready"))`;

test("what is secret shows in no command line, environment, output, log, record or file but where it was put", async () => {
  await sh("op-dbus template export debian-base --output /srv/base.tar.zst");
  const sha256 = (await sh("cut -c1-64 /srv/base.tar.zst.sha256")).trim();
  await write("/root/serve.cjs", SERVE);
  const server = await node.spawn(["/usr/lib/opdbus-pve/bin/node", "/root/serve.cjs"]);
  await expect.poll(() => sh("ss -Htln sport = :8099")).toContain("8099");
  const definition = (token: string) => `description = "With secrets"
commands = ["echo root:sesame-password | chpasswd", "test ! -e /sesame-command"]
[source]
type = "archive"
url = "http://127.0.0.1:8099/base.tar.zst?token=${token}"
sha256 = "${sha256}"
[[files]]
path = "/root/secret"
mode = "600"
content = "sesame-file"
`;
  await write(OWN, definition("sesame-wrong"));
  await write("/root/right", definition("sesame-token"));
  await write("/root/environment", "http_proxy=http://me:sesame-proxy@127.0.0.1:1\nNETMAKER_KEY=sesame-environment\n");
  const commands = [
    // the server refuses this one
    "op-dbus template build own",
    `cat /root/right >${OWN}; op-dbus template build own --json`,
    "op-dbus container create web db --template own --network none --wait",
    "op-dbus container exec web -- sh -c 'test sesame-typed = no'",
    "op-dbus container exec web -- sh -c 'echo sesame-typed >/root/secret'",
    "op-dbus container snapshot web one; op-dbus container stop web db; op-dbus container publish web site",
    "op-dbus template show own --json; op-dbus template list --json; op-dbus template shift own",
    `printf '[netmaker]\\njoin_key = "sesame-setting"\\n' >${SETTINGS}; opdbus-pve install --yes; op-dbus doctor`,
    `printf '[templates]\\nmirror = "http://me:sesame-mirror@127.0.0.1/debian"\\n' >${SETTINGS}; opdbus-pve install --yes`,
    `printf '[templates]\\nkeep = sesame-broken\\n' >${SETTINGS}; op-dbus container create x --network none`,
    `rm ${SETTINGS}; opdbus-pve install --yes`,
    "op-dbus query; op-dbus query --save; op-dbus status; op-dbus audit log --json; op-dbus container list --json",
    "opdbus-pve uninstall --everything --destroy-containers --dry-run",
  ];
  await write("/root/typed", `#!/bin/sh\nset -a\n. /root/environment\nset +a\n${commands.join("\n")}\n`);
  await write("/root/watch", WATCH);
  const watching = await node.spawn(["sh", "-c", "exec perl /root/watch >/root/seen"]);
  const told = await node.run(["sh", "-c", "/bin/sh /root/typed 2>&1"]);
  await watching.kill("SIGKILL");
  await server.kill("SIGKILL");

  expect(told.stdout).toMatch(/the server says 403[^]*"result"|the server says 403[^]*"template/);
  expect(told.stdout).toContain("db: running");
  expect(told.stdout).toContain("unknown key");
  expect(told.stdout).not.toMatch(/sesame-[a-z]+/);
  expect(await sh("sort -u /root/seen")).toBe("");
  expect(await sh(`journalctl --output=export --all | grep -aoE '${PATTERN}' | sort -u`)).toBe("");
  const files = await sh(
    `find / -xdev -path /proc -prune -o -path /root -prune -o -path /srv -prune -o -name pool.img -prune -o -type f -print0 | xargs -0 grep -laE '${PATTERN}'; grep -rlaE '${PATTERN}' /run /var/lib/op-dbus /tmp`,
  );
  expect(
    files.split("\n").filter((path) => path !== "" && path !== OWN && !path.endsWith("/rootfs/root/secret")),
  ).toEqual([]);
});
