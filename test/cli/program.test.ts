import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";

const MAIN = join(import.meta.dirname, "../../src/cli/main.ts");

function run(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH: process.env["PATH"], HOME: "/nonexistent" },
  });
  return { status, stdout, stderr };
}

const COMMANDS = {
  "": ["install", "uninstall", "status", "doctor", "query", "template", "container", "audit"],
  template: ["build", "list", "show", "verify", "shift", "use", "remove", "export", "import", "prune", "refresh"],
  container: [
    "create list show start stop restart exec console logs destroy publish".split(" "),
    "snapshot listsnapshot delsnapshot rollback clone rename copy".split(" "),
  ].flat(),
  audit: ["log", "verify"],
};

test.each(Object.entries(COMMANDS))("help of %j lists every command", (group, commands) => {
  const { status, stdout } = run(...group.split(" ").filter(Boolean), "--help");
  expect(status).toBe(0);
  const listed = [...(stdout.split("Commands:\n")[1] ?? "").matchAll(/^ {2}([a-z]+)/gm)].map(([, name]) => name);
  expect(listed).toEqual([...commands, "help"]);
});

test("knows its version without loading anything", () => {
  expect(run("--version")).toEqual({ status: 0, stdout: "dev\n", stderr: "" });
});

test.each([
  ["an unknown command", ["frobnicate"], "error: unknown command 'frobnicate'"],
  ["an unknown command of a group", ["container", "frobnicate"], "error: unknown command 'frobnicate'"],
  ["an unknown option", ["status", "--frobnicate"], "error: unknown option '--frobnicate'"],
  ["an option in the place of a name", ["container", "create", "-x"], "error: unknown option '-x'"],
  ["a create without a name", ["container", "create"], "error: missing required argument 'name'"],
  ["too many names", ["template", "show", "a", "b"], "error: too many arguments"],
  [
    "a network that is none",
    ["container", "create", "a", "--network", "bogus"],
    "Allowed choices are socket, mesh, none.",
  ],
  ["an option without its value", ["install", "--pool-size"], "argument missing"],
])("%s is a mistake in usage: exit code 2, and where help is", (_, args, message) => {
  const { status, stdout, stderr } = run(...args);
  expect(stderr).toContain(message);
  expect(stderr).toContain("(--help shows what is possible)");
  expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
});

const isRoot = process.getuid?.() === 0;

// where an installed node has its state there is nothing, so that no test depends on this machine, or changes it
const BARE = `for folder in /run /var/lib /etc/opdbus; do
    test ! -d $folder || mount -t tmpfs tmpfs $folder || exit 1
  done; exec "$@"`;

function runOnBareHost(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(
    "unshare",
    ["--mount", "--", "sh", "-c", BARE, "sh", process.execPath, MAIN, ...args],
    { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], env: { PATH: process.env["PATH"], HOME: "/nonexistent" } },
  );
  return { status, stdout, stderr };
}

test.runIf(isRoot).each([
  [["container", "create", "../x", "--network", "none"], 'error: Unable to use "../x" as a container name'],
  [["container", "create", "--network", "none", "--", "-x"], 'error: Unable to use "-x" as a container name'],
  [["container", "create", "ok", "A", "--network", "none"], 'error: Unable to use "A" as a container name'],
  [["container", "create", "a", "b", "a", "--network", "none"], "error: a is named twice"],
  [["container", "create", "a"], "error: Which network is not said"],
  [["container", "create", "a", "--network", "none", "--cores", "0"], 'error: --cores is "0"'],
  [["container", "create", "a", "--network", "none", "--memory", "2g"], 'error: --memory is "2g"'],
  [["container", "create", "a", "--network", "none", "--ip", "10.0.0.5"], 'error: --ip is "10.0.0.5"'],
  [["container", "create", "a", "--network", "none", "--ip", "10.0.0.5/33"], 'error: --ip is "10.0.0.5/33"'],
  [["container", "create", "a", "--network", "none", "--ip", "10.0.0/24"], 'error: --ip is "10.0.0/24"'],
  [["container", "create", "a", "--network", "none", "--ssh-key", "/nonexistent"], "error: Unable to read the SSH key"],
  [["container", "create", "a", "--network", "none", "--ssh-key", "/etc/hostname"], "holds no public SSH key"],
  [
    ["container", "create", "a", "--network", "none", "--template", "../x"],
    'error: Unable to use "../x" as a template name',
  ],
  [["container", "exec", "a", "--"], "error: No command was given"],
  [["container", "stop", "a", "--timeout", "0"], 'error: --timeout is "0"'],
  [["container", "snapshot", "a", "../x"], 'error: Unable to use "../x" as a snapshot name'],
  [["container", "snapshot", "a", "b", "--note", "x\n"], "error: Unable to use"],
  [["container", "delsnapshot", "a", "one", ".."], 'error: Unable to use ".." as a snapshot name'],
  [["container", "rollback", "a", "-x"], "error: unknown option '-x'"],
  [["container", "clone", "a", "b", "b"], "error: b is named twice"],
  [["container", "clone", "a", "a"], "error: a is to be cloned, so no clone can have its name"],
  [["container", "clone", "a", "b", "--snapshot", "."], 'error: Unable to use "." as a snapshot name'],
  [["container", "rename", "a", "a"], "error: a is called so already"],
  [["container", "rename", "a", "../b"], 'error: Unable to use "../b" as a container name'],
  [["container", "copy", "a"], "error: required option '--to <mountpoint>' not specified"],
  [["container", "copy", "a", "--to", "/x", "--name", "A"], 'error: Unable to use "A" as a container name'],
  [["container", "destroy", "a", "--force"], "op-dbus container destroy a --force --yes\n"],
  [["audit", "log", "--lines", "many"], 'error: --lines is "many"'],
  [["install", "--dry-run", "--only", "nothing"], "error: There is no step nothing"],
  [["install", "--dry-run", "--only", "program", "templates,none", "--skip", "x"], "error: There is no step none, x"],
  [["install", "--exit-code"], "error: --exit-code is for a look"],
  [["install", "--dry-run", "--pool-size", "20"], "error: 20 is no size"],
  [
    ["install", "--dry-run", "--pool-size", "20G", "--pool-device", "/dev/x"],
    "error: A pool is in a file or on a device",
  ],
  [["install", "--dry-run", "--config", "/nonexistent"], "error: Unable to read settings from /nonexistent"],
])("%j is refused with exit code 2 and a hint", (args, message) => {
  const { status, stdout, stderr } = runOnBareHost(...args);
  expect(stderr).toContain(message);
  expect(stderr).not.toContain("This is a bug");
  expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
});

test.runIf(isRoot)("an error is JSON where JSON was asked for, and is still told to people", () => {
  const { status, stdout, stderr } = runOnBareHost("container", "create", "A", "--network", "none", "--json");
  expect(status).toBe(2);
  expect(JSON.parse(stdout)).toEqual({
    schema: 1,
    error: {
      message: 'Unable to use "A" as a container name',
      hint: expect.stringContaining("like web-01"),
    },
  });
  expect(stderr).toContain("error: Unable to use");
});
