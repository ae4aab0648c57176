import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { UserError } from "../../src/host/errors.ts";
import { memoryHost } from "../memory-host.ts";
import { journalRecorder } from "../../src/install/journal.ts";
import type { AuditRow } from "../../src/audit/rows.ts";

const JOURNAL = "/var/lib/opdbus-pve/install-journal.jsonl";
const ACTOR = { user: "root", pid: 7, node: "node1" };

function lines(text: string | undefined) {
  return (text ?? "")
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

function idOf(line: Record<string, unknown> | undefined): unknown {
  return (line?.["metadata"] as { journal: string } | undefined)?.journal;
}

test("before there is a database, intent and outcome go to a file of root's", async () => {
  const host = memoryHost();
  const record = journalRecorder(host, ACTOR);
  await record("install_step", "environment", { changes: ["Do it"] }, async () => {
    expect(lines(await host.readText(JOURNAL))).toHaveLength(1);
  });
  const failing = record("install_step", "subvolumes", {}, () => Promise.reject(new Error("no room")));
  await expect(failing).rejects.toThrow("no room");
  const [intent, ok, begun, failed] = lines(await host.readText(JOURNAL));
  expect(intent).toMatchObject({
    operation: "install_step",
    target: "environment",
    metadata: { status: "started", changes: ["Do it"], actor: ACTOR },
  });
  expect(ok).toMatchObject({ target: "environment", metadata: { status: "ok", started: idOf(intent) } });
  expect(failed).toMatchObject({ metadata: { status: "failed", started: idOf(begun), error: "no room" } });
  expect(await host.stat(JOURNAL)).toMatchObject({ mode: 0o600 });
  expect(await host.stat("/var/lib/opdbus-pve")).toMatchObject({ mode: 0o711 });
});

test("a change that was made and cannot be written down is told as made", async () => {
  const host = memoryHost();
  const full = new UserError("Unable to change the journal: no space is left", { hint: "df -h" });
  let fillsUp = false;
  const appendText: typeof host.appendText = (...args) => (fillsUp ? Promise.reject(full) : host.appendText(...args));
  const record = journalRecorder({ ...host, appendText }, ACTOR);
  const change = async () => void (fillsUp = true);
  await expect(record("container_destroy", "web-01", {}, change)).rejects.toMatchObject({
    message: `container_destroy on web-01 was done, but this could not be recorded. ${full.message}`,
    hint: "df -h",
  });
  fillsUp = false;
  const failing = record("container_destroy", "db", {}, async () => {
    fillsUp = true;
    throw new Error("busy");
  });
  await expect(failing).rejects.toThrow("container_destroy on db failed (busy), but this could not be recorded.");
  fillsUp = true;
  let ran = false;
  await expect(record("x", "y", {}, async () => void (ran = true))).rejects.toThrow(
    "Nothing was done, because it could not be recorded: x on y. Unable to change the journal",
  );
  expect(ran).toBe(false);
});

/** Runs a scenario of journal-worker.ts on this machine, with a /var/lib of its own. Returns all rows of the log. */
function rowsAfter(scenario: string): AuditRow[] {
  const script = 'mount -t tmpfs tmpfs /var/lib && exec "$@"';
  const worker = fileURLToPath(new URL("journal-worker.ts", import.meta.url));
  const { stdout, stderr, status } = spawnSync(
    "unshare",
    ["--mount", "--", "sh", "-c", script, "sh", process.execPath, worker, scenario],
    { encoding: "utf8" },
  );
  expect(status, stderr).toBe(0);
  return JSON.parse(stdout) as AuditRow[];
}

const isRoot = process.getuid?.() === 0;

test.runIf(isRoot)("what the journal holds follows the genesis row, with its times and its intents", () => {
  const rows = rowsAfter("install");
  expect(rows.map(({ id, operation, target }) => `${id} ${operation} ${target}`)).toEqual([
    "0 genesis system",
    "1 install_step environment",
    "2 install_step environment",
    "3 install_step audit",
    "4 install_step audit",
    "5 install_step sockets",
    "6 install_step sockets",
  ]);
  const status = rows.map(({ metadata }) => metadata as { status?: string; intent?: number });
  expect(status.slice(1).map((each) => [each.status, each.intent])).toEqual([
    ["started", undefined],
    ["ok", 1],
    ["started", undefined],
    ["ok", 3],
    ["started", undefined],
    ["ok", 5],
  ]);
  expect(rows[1]?.timestamp).toBe(1_700_000_000);
});

test.runIf(isRoot)("a crash between appending and removing the journal repeats nothing", () => {
  const targets = rowsAfter("crash").map(({ target }) => target);
  expect(targets.slice(1)).toEqual([
    "environment",
    "environment",
    "audit",
    "audit",
    "sockets",
    "sockets",
    "plugins",
    "plugins",
  ]);
});

test.runIf(isRoot)("an outcome finds its intent, also one that was moved long before", () => {
  const [begun, ended] = rowsAfter("late").filter(({ target }) => target === "long");
  expect(ended).toMatchObject({ metadata: { status: "ok", intent: begun?.id } });
});

test.runIf(isRoot)("processes that move the journal at the same time move each line once", () => {
  const moved = rowsAfter("two").filter(({ operation }) => operation === "x");
  expect(moved.map(({ target }) => target)).toEqual(Array.from({ length: 1500 }, (_, i) => String(i)));
});

test.runIf(isRoot)("a line that a crash cut short costs no other line", () => {
  const rows = rowsAfter("cut-line");
  expect(rows.slice(1).map(({ target }) => target)).toEqual(["audit", "audit"]);
});
