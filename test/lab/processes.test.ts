import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { findProcess, isAlive, killProcess, parseStat, waitUntil } from "../../lab/processes.ts";

test("a process's start time is read past a name with spaces and brackets", () => {
  const stat = "4711 (a ) b (c)) S 1 4711 4711 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 22 33";

  expect(parseStat(stat)).toEqual({ pid: 4711, state: "S", startTime: "987654" });
});

test("a process with the same pid but another start time is not ours", () => {
  const self = findProcess(process.pid);

  expect(self).toBeDefined();
  expect(isAlive({ pid: process.pid, startTime: self?.startTime ?? "" })).toBe(true);
  expect(isAlive({ pid: process.pid, startTime: "1" })).toBe(false);
});

test("only the recorded process is killed", async () => {
  const child = spawn("sleep", ["60"]);
  await once(child, "spawn");
  const started = findProcess(child.pid ?? 0);
  if (started === undefined) throw new Error("sleep did not start");

  await killProcess({ ...started, startTime: "1" });
  expect(isAlive(started)).toBe(true);

  await killProcess(started);
  expect(isAlive(started)).toBe(false);
});

test("waiting in vain says for what", async () => {
  const waiting = waitUntil(() => false, { timeoutMs: 20, what: "the sun" });

  await expect(waiting).rejects.toThrow("waited 0.02 s in vain for the sun");
});
