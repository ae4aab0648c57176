import { spawnSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { humanBytes } from "../../src/report/bytes.ts";
import { layOut } from "../../src/report/table.ts";

const WORKER = fileURLToPath(new URL("render.ts", import.meta.url));
type Calls = readonly (readonly [method: string, value: unknown])[];

function render(calls: Calls, options: object = {}, env: Record<string, string> = {}) {
  const argv = [WORKER, JSON.stringify(calls), JSON.stringify(options)];
  const { stdout, stderr } = spawnSync(process.execPath, argv, { encoding: "utf8", env });
  return { stdout, stderr };
}

/** What a terminal gets, both streams in one. */
function renderOnTerminal(calls: Calls, env: Record<string, string> = {}): string {
  const quoted = [process.execPath, WORKER, JSON.stringify(calls)].map((word) => `'${word}'`).join(" ");
  const { stdout } = spawnSync("/usr/bin/script", ["--quiet", "--return", "--command", quoted, "/dev/null"], {
    encoding: "utf8",
    env: { PATH: "/usr/bin:/bin", TERM: "xterm", ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  return stdout.replaceAll("\r\n", "\n");
}

const PROGRESS = ["report", { kind: "progress", task: "building x", fraction: 0.25, detail: "extracting" }] as const;
const WARNING = ["report", { kind: "warn", text: "careful" }] as const;
const REMARK = ["report", { kind: "say", text: "remark" }] as const;

describe("without a terminal", () => {
  test("output that finds a full disk is told once, and does not end the work", () => {
    const argv = [WORKER, JSON.stringify([["print", "one"], ["print", "two"], REMARK]), "{}"];
    const full = openSync("/dev/full", "w");
    const { stderr, status } = spawnSync(process.execPath, argv, { encoding: "utf8", stdio: ["ignore", full, "pipe"] });
    closeSync(full);
    expect(stderr.match(/Unable to write the result: ENOSPC/g)).toHaveLength(1);
    expect(stderr).toContain("remark\n");
    expect(status).toBe(1);
  });

  test("results go to standard output and talk to standard error, in plain lines", () => {
    expect(render([REMARK, PROGRESS, WARNING, ["print", "result"]])).toEqual({
      stdout: "result\n",
      stderr: "remark\n[ 25 %] building x: extracting\nwarning: careful\n",
    });
  });

  test("progress that has no measure is its task alone", () => {
    expect(render([["report", { kind: "progress", task: "waiting" }]]).stderr).toBe("waiting\n");
  });

  test("quiet says only what is wrong", () => {
    expect(render([REMARK, PROGRESS, WARNING, ["print", "result"]], { quiet: true })).toEqual({
      stdout: "result\n",
      stderr: "warning: careful\n",
    });
  });

  test.each([
    ["nobody asks for it", {}, {}, false],
    ["it is forced", {}, { CLICOLOR_FORCE: "1" }, true],
    ["it is forced, and NO_COLOR stands", {}, { CLICOLOR_FORCE: "1", NO_COLOR: "1" }, false],
    ["it is forced, and --no-color is given", { color: false }, { CLICOLOR_FORCE: "1" }, false],
  ])("colour where %s", (_, options, env, coloured) => {
    expect(render([WARNING], options, env).stderr.includes("\u001B[33m")).toBe(coloured);
  });

  test("an error is its message and its hint, line by line, and JSON where that was asked for", () => {
    const { stdout, stderr } = render([["fail", "it broke"]]);
    expect(stderr).toBe("error: it broke\n  op-dbus status; opdbus-pve install --pool-size 20G\n  ls opdbus-pve\n");
    const hint = "op-dbus status; opdbus-pve install --pool-size 20G\nls opdbus-pve";
    expect(JSON.parse(stdout)).toEqual({ schema: 1, error: { message: "it broke", hint } });
  });

  test("a name that would steer the terminal is shown without its control characters", () => {
    const evil = "\u001B]0;title\u0007\u009B31m\r";
    const { stdout, stderr } = render([
      ["report", { kind: "warn", text: `w ${evil}` }],
      ["report", { kind: "say", text: `s ${evil}` }],
      ["report", { kind: "progress", task: `p ${evil}` }],
      ["fail", `f ${evil}`],
      ["bug", `b ${evil}`],
      ["print", `r ${evil}\nsecond\tline`],
    ]);
    expect(stdout + stderr).not.toMatch(/[^\P{Cc}\n\t]/u);
    expect(stdout).toMatch(/^second\tline$/m);
  });

  test("before the installation, a hint names our command by the way to it that was typed", () => {
    const hint = (command: string) => render([["fail", "it broke"]], {}, { OPDBUS_COMMAND: command }).stderr;
    expect(hint("op-dbus")).toContain("  op-dbus status; opdbus-pve install --pool-size 20G\n");
    expect(hint("./a b/op-dbus")).toContain("  './a b/op-dbus' status; './a b/op-dbus' install --pool-size 20G\n");
  });

  test("what nobody foresaw is called a bug and shows where it happened", () => {
    expect(render([["bug", "oh"]]).stderr).toMatch(/^This is a bug in opdbus-pve:\nError: oh\n {4}at /);
  });

  test("a table is as wide as its widest cells, and has no blanks at the ends", () => {
    const rows = [
      ["NAME", "STATE", "X"],
      ["web-01", "up", ""],
      ["a", "stopped", "y"],
    ];
    expect(render([["table", rows]]).stdout).toBe("NAME    STATE    X\nweb-01  up\na       stopped  y\n");
    expect(render([["table", [["NAME", "STATE"]]]]).stdout).toBe("NAME  STATE\n");
  });

  test("JSON has the keys of operation-dbus", () => {
    const { stdout } = render([["json", { templateVersion: "1", memoryMiB: 2, packages: { "x-Y": 1 } }]]);
    expect(JSON.parse(stdout)).toEqual({ template_version: "1", memory_mib: 2, packages: { "x-Y": 1 } });
  });
});

describe("on a terminal", () => {
  const line = "\r\u001B[K[ 25 %] building x: extracting";

  test("progress rewrites one line, and what else is said takes its place", () => {
    expect(renderOnTerminal([PROGRESS, PROGRESS, REMARK])).toBe(`${line}${line}\r\u001B[Kremark\n`);
  });

  test("a result takes its place, too, and leaves no empty line", () => {
    expect(renderOnTerminal([PROGRESS, ["print", "result"]])).toBe(`${line}\r\u001B[Kresult\n`);
  });

  test("warnings have a colour, unless NO_COLOR stands", () => {
    expect(renderOnTerminal([WARNING])).toBe("\u001B[33mwarning: careful\u001B[0m\n");
    expect(renderOnTerminal([WARNING], { NO_COLOR: "1" })).toBe("warning: careful\n");
  });
});

test.each([
  [0, "0 B"],
  [1, "1 B"],
  [1023, "1023 B"],
  [1024, "1.0 KiB"],
  [1536, "1.5 KiB"],
  [150 * 1024, "150 KiB"],
  [2 ** 30, "1.0 GiB"],
  [5.25 * 2 ** 40, "5.3 TiB"],
  [2 ** 60, "1048576 TiB"],
])("%d bytes are %s", (bytes, text) => {
  expect(humanBytes(bytes)).toBe(text);
});

test("a table of very many rows is laid out", () => {
  const rows = Array.from({ length: 200_000 }, (_, index) => [String(index), "x"]);
  expect(layOut([["NUMBER", "WHAT"], ...rows]).at(-1)).toBe("199999  x");
});
