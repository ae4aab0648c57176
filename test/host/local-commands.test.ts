import * as fs from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { CommandFailed, shellText } from "../../src/host/command-failed.ts";
import { Interrupted } from "../../src/host/errors.ts";
import type { Argv } from "../../src/host/host.ts";
import { localHost } from "../../src/host/local-host.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

const host = localHost(new AbortController().signal);
const sh = (script: string, ...args: string[]): Argv => ["sh", "-c", script, "sh", ...args];

test("probes with reading verbs only", async () => {
  expect((await host.probe(["getent", "passwd", "root"])).stdout).toMatch(/^root:/);
  for (const argv of [["rm", "-rf", "/x"], ["systemctl", "start", "x"], ["btrfs", "subvolume"], ["getentx"]]) {
    await expect(host.probe(argv as unknown as Argv)).rejects.toThrow(/^not a reading verb/);
  }
});

test("gives a probe's exit status instead of throwing", async () => {
  expect(await host.probe(["getent", "group", "no-such-group"])).toMatchObject({ exitCode: 2 });
});

test("says the command and its last line when it fails", async () => {
  const failing = host.run(sh("echo out; echo first >&2; echo 'the reason' >&2; echo >&2; exit 3"));
  await expect(failing).rejects.toThrow(CommandFailed);
  await expect(failing).rejects.toThrow(/exited with 3: the reason$/);
  await expect(failing).rejects.toMatchObject({ result: { exitCode: 3, stdout: "out\n" } });
});

test("says the reason and not what tar says after it", async () => {
  const lines = [
    "tar: x: Cannot write: No space left on device",
    "tar: Exiting with failure status due to previous errors",
  ];
  await expect(host.run(sh(`printf '%s\n' "$@" >&2; exit 2`, ...lines))).rejects.toThrow(
    /exited with 2: .*No space left on device$/s,
  );
});

test("shows a command so that it can be typed again", () => {
  expect(shellText(["mv", "--", "a b", "it's", "/x-1.y"])).toBe(`mv -- 'a b' 'it'\\''s' /x-1.y`);
});

test("a command that does not exist is exit status 127", async () => {
  await expect(host.run(["no-such-command", "x"])).rejects.toMatchObject({ result: { exitCode: 127 } });
  await expect(host.run(["no-such-command"])).rejects.toThrow(/no-such-command: command not found/);
});

test("a command that a signal ended is a failure", async () => {
  await expect(host.run(sh("kill -9 $$"))).rejects.toMatchObject({ result: { exitCode: 128 + 9 } });
});

test("closes standard input unless it is given", async () => {
  expect((await host.run(["cat"])).stdout).toBe("");
  expect((await host.run(["cat"], { input: "päper\n" })).stdout).toBe("päper\n");
});

test("starts commands in a small fixed environment", async () => {
  process.env["OPDBUS_TEST_SECRET"] = "x";
  const { stdout } = await host.run(["env"], { env: { ADDED: "1" } });
  delete process.env["OPDBUS_TEST_SECRET"];
  const names = stdout.split("\n").map((line) => line.split("=")[0] ?? "");
  expect(names.filter((name) => !["TERM", "PWD", "SHLVL", "_", ""].includes(name)).toSorted()).toEqual([
    "ADDED",
    "HOME",
    "LC_ALL",
    "PATH",
  ]);
});

test("ends a command that takes too long", async () => {
  await expect(host.run(["sleep", "30"], { timeoutMs: 100 })).rejects.toMatchObject({ result: { exitCode: 124 } });
  await expect(host.run(["sleep", "30"], { timeoutMs: 99.9 })).rejects.toMatchObject({ result: { exitCode: 124 } });
});

test("what goes into a file goes into a new one, and never through a link", async () => {
  const folder = temporaryDirectory();
  const path = join(folder, "out");
  expect(await host.run(["sh", "-c", "readlink /proc/self/fd/1; echo x"], { output: path })).toMatchObject({
    stdout: "",
  });
  // the command has the file itself, and no pipe to us
  expect(fs.readFileSync(path, "utf8")).toBe(`${path}\nx\n`);
  fs.writeFileSync(join(folder, "precious"), "precious");
  fs.symlinkSync("precious", join(folder, "link"));
  await expect(host.run(["echo", "x"], { output: join(folder, "link") })).rejects.toThrow("Unable to write");
  await expect(host.run(["echo", "x"], { output: join(folder, "none/x") })).rejects.toThrow("Unable to write");
  expect(fs.readFileSync(join(folder, "precious"), "utf8")).toBe("precious");
});

test("returns when a command has ended, whoever still holds its pipes", { timeout: 10_000 }, async () => {
  const lines: string[] = [];
  const left = sh("sleep 20 & echo $!; echo said >&2; exit 3");
  const failed = await host.run(left, { onLine: (line) => lines.push(line) }).catch((error: unknown) => error);
  expect(failed).toMatchObject({ result: { exitCode: 3, stderr: "said\n" } });
  expect(lines).toEqual(["said"]);
  process.kill(Number((failed as CommandFailed).result.stdout));
});

test.each(["a time limit", "an interruption"])(
  "%s ends a command, also when what it started holds its pipes",
  { timeout: 10_000 },
  async (way) => {
    const folder = temporaryDirectory();
    const interruption = new AbortController();
    const running = localHost(interruption.signal).run(
      sh('setsid sleep 20 & echo $! >"$1/pid"; : >"$1/ready"; wait', folder),
      way === "a time limit" ? { timeoutMs: 300 } : {},
    );
    running.catch(() => {});
    await expect.poll(() => fs.existsSync(join(folder, "ready"))).toBe(true);
    if (way === "an interruption") interruption.abort();
    await expect(running).rejects.toThrow(way === "an interruption" ? Interrupted : CommandFailed);
    process.kill(Number(fs.readFileSync(join(folder, "pid"), "utf8")));
  },
);

test("hands on every line of standard error, all of them before it returns", async () => {
  const lines: string[] = [];
  await host.run(sh("for i in $(seq 500); do echo line $i >&2; done"), { onLine: (line) => lines.push(line) });
  expect(lines).toHaveLength(500);
  expect([lines[0], lines.at(-1)]).toEqual(["line 1", "line 500"]);
});

test("an interruption ends the running command, and refuses the next one", async () => {
  const marker = join(temporaryDirectory(), "pid");
  const interruption = new AbortController();
  const interrupted = localHost(interruption.signal);
  const running = interrupted.run(sh('echo $$ >"$1"; exec sleep 300', marker));
  await expect.poll(() => fs.existsSync(marker) && fs.readFileSync(marker, "utf8")).toMatch(/\d+\n/);
  interruption.abort();
  await expect(running).rejects.toThrow(Interrupted);
  expect(fs.existsSync(`/proc/${fs.readFileSync(marker, "utf8").trim()}`)).toBe(false);
  await expect(interrupted.run(["true"])).rejects.toMatchObject({ exitCode: 130 });
  await expect(interrupted.probe(["getent", "passwd"])).rejects.toThrow(Interrupted);
  await expect(interrupted.pipe(["true"], ["cat"])).rejects.toThrow(Interrupted);
  // what was begun can still be undone
  expect((await interrupted.run(["echo", "undone"], { shielded: true })).stdout).toBe("undone\n");
});

test("an interruption also ends a command that does not care for SIGTERM", async () => {
  const folder = temporaryDirectory();
  const interruption = new AbortController();
  const running = localHost(interruption.signal).run(
    sh('trap "" TERM; : >"$1/ready"; while :; do sleep 0.1; done', folder),
  );
  await expect.poll(() => fs.existsSync(join(folder, "ready"))).toBe(true);
  interruption.abort();
  await expect(running).rejects.toThrow(Interrupted);
});

test.each([
  ["SIGTERM", true],
  ["SIGHUP", true],
  ["SIGINT", false],
])("%s ends a command that has the terminal: %s", { timeout: 10_000 }, async (reason, ends) => {
  const interruption = new AbortController();
  const running = localHost(interruption.signal).interactive(["sleep", "0.5"]);
  interruption.abort(reason);
  if (ends) await expect(running).rejects.toThrow(Interrupted);
  else expect(await running).toBe(0);
});

test("a pipe gives what the second command gave", async () => {
  const result = await host.pipe(["seq", "100000"], sh("wc -l"));
  expect(result.stdout.trim()).toBe("100000");
});

test("a pipe counts the bytes that go through it, and loses none to the counting", async () => {
  const counts: number[] = [];
  const options = { onBytes: (bytes: number) => counts.push(bytes) };
  const slowly = sh("sleep 0.2; wc -c");
  const { stdout } = await host.pipe(["head", "-c", "3000000", "/dev/zero"], slowly, options);
  expect(stdout.trim()).toBe("3000000");
  expect(counts.at(-1)).toBe(3_000_000);
  expect(counts).toEqual(counts.toSorted((one, other) => one - other));
});

test("a pipe gives its environment to both, and the lines of the first", async () => {
  const lines: string[] = [];
  const options = { env: { WORD: "hello" }, onLine: (line: string) => lines.push(line) };
  expect((await host.pipe(sh("echo said >&2; echo $WORD"), sh("cat; echo $WORD"), options)).stdout).toBe(
    "hello\nhello\n",
  );
  expect(lines).toEqual(["said"]);
});

test.each([
  ["the first fails", sh("echo boom >&2; exit 3"), sh("cat"), /boom/],
  ["the second fails", sh("echo x"), sh("cat >/dev/null; echo full >&2; exit 4"), /full/],
  ["the first fails, and so the second", sh("echo boom >&2; exit 3"), sh("cat; echo short >&2; exit 2"), /boom/],
  ["the second gives up early on an endless first", ["yes"] as Argv, sh("echo full >&2; exit 4"), /full/],
  ["the first is not there", ["no-such-command"] as Argv, sh("cat"), /no-such-command: command not found/],
  ["the second is not there", sh("echo x"), ["no-such-command"] as Argv, /no-such-command: command not found/],
  [
    "the source fails after it closed its output, and the sink chokes on what it got",
    sh("exec >&-; sleep 0.3; echo 'no such package' >&2; exit 25"),
    sh("cat >/dev/null; echo 'not an archive' >&2; exit 2"),
    "no such package",
  ],
])("a pipe blames the right one when %s", { timeout: 5000 }, async (_, from, to, blamed) => {
  await expect(host.pipe(from, to)).rejects.toThrow(blamed);
});

test("an interruption ends both commands of a pipe", { timeout: 10_000 }, async () => {
  const folder = temporaryDirectory();
  const interruption = new AbortController();
  const running = localHost(interruption.signal).pipe(
    sh('echo $$ >"$1/from"; exec sleep 300', folder),
    sh('echo $$ >"$1/to"; exec sleep 300', folder),
  );
  running.catch(() => {});
  await expect.poll(() => fs.existsSync(join(folder, "from")) && fs.existsSync(join(folder, "to"))).toBe(true);
  await sleep(50);
  interruption.abort();
  await expect(running).rejects.toThrow(Interrupted);
  for (const side of ["from", "to"]) {
    expect(fs.existsSync(`/proc/${fs.readFileSync(join(folder, side), "utf8").trim()}`)).toBe(false);
  }
});
