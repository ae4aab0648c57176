import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { openAuditLog } from "../../src/audit/audit-log.ts";
import { createAuditLog } from "../../src/audit/create-audit-log.ts";
import { verifyBySpec } from "./spec-verifier.ts";
import { tempDirectory } from "./temp-log.ts";

const WORKER = fileURLToPath(new URL("./worker.ts", import.meta.url));

interface Worker {
  process: ChildProcess;
  /** Settles when the first line has come. */
  ready: Promise<unknown>;
  /** Settles at the end with all whole lines after "ready", and the exit code. */
  done: Promise<{ lines: string[]; code: number | null }>;
}

function startWorker(...args: string[]): Worker {
  const child = spawn(process.execPath, [WORKER, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => (output += chunk));
  const done = once(child, "close").then(([code]: (number | null)[]) => ({
    lines: output.split("\n").slice(1, -1),
    code: code ?? null,
  }));
  return { process: child, ready: once(child.stdout, "data"), done };
}

test("eight processes append to one chain, and nothing is lost", { timeout: 120_000 }, async () => {
  const path = join(tempDirectory(), "blockchain.db");
  createAuditLog(path);
  const workers = Array.from({ length: 8 }, () => startWorker("append", path, "50"));
  const ends = await Promise.all(workers.map((worker) => worker.done));
  expect(ends.map(({ code }) => code)).toEqual(Array(8).fill(0));
  const { rows, problems } = verifyBySpec(path);
  expect(problems).toEqual([]);
  expect(rows.length).toBe(401);
  const written = rows.slice(1).map((row) => `${row.id} ${row.target}`);
  expect(written.toSorted()).toEqual(ends.flatMap(({ lines }) => lines).toSorted());
});

test("kill -9 in the middle of appending loses nothing announced", { timeout: 120_000 }, async () => {
  const path = join(tempDirectory(), "blockchain.db");
  createAuditLog(path);
  const announced: string[] = [];
  for (let round = 0; round < 20; round += 1) {
    const worker = startWorker("append", path, "1000000");
    await worker.ready;
    await delay(Math.random() * 60);
    worker.process.kill("SIGKILL");
    announced.push(...(await worker.done).lines);

    const log = openAuditLog(path);
    expect(log.verify()).toMatchObject({ ok: true });
    log.close();
    const { rows, problems } = verifyBySpec(path);
    expect(problems).toEqual([]);
    const written = new Set(rows.map((row) => `${row.id} ${row.target}`));
    expect(announced.filter((line) => !written.has(line))).toEqual([]);
    // At most the one that was committed but not announced, in each round.
    expect(rows.length - 1 - announced.length).toBeLessThanOrEqual(round + 1);
  }
  expect(announced.length).toBeGreaterThan(20);
});

test("four processes create the same logs: each is made once and whole", { timeout: 60_000 }, async () => {
  const directory = tempDirectory();
  const workers = Array.from({ length: 4 }, () => startWorker("createMany", directory, "20"));
  const ends = await Promise.all(workers.map((worker) => worker.done));
  expect(ends.map(({ code }) => code)).toEqual(Array(4).fill(0));
  for (let n = 0; n < 20; n += 1) {
    expect(ends.filter(({ lines }) => lines[n] === "true").length, `${n}.db`).toBe(1);
    expect(verifyBySpec(join(directory, `${n}.db`))).toMatchObject({
      rows: { length: 1 },
      problems: [],
    });
  }
  expect(readdirSync(directory).filter((name) => name.includes(".new-"))).toEqual([]);
});

test("kill -9 in the middle of creation leaves no log or a whole one", { timeout: 120_000 }, async () => {
  let drafts = 0;
  for (let round = 0; round < 20; round += 1) {
    const directory = tempDirectory();
    const worker = startWorker("createMany", directory, "1000000");
    await worker.ready;
    await delay(Math.random() * 60);
    worker.process.kill("SIGKILL");
    const { lines } = await worker.done;

    const files = readdirSync(directory);
    const logs = files.filter((name) => name.endsWith(".db"));
    drafts += files.some((name) => name.includes(".new-")) ? 1 : 0;
    expect(logs.length - lines.length).toBeOneOf([0, 1]);
    for (const name of logs) {
      const log = openAuditLog(join(directory, name));
      expect(log.verify()).toMatchObject({ ok: true, rows: 1 });
      log.close();
    }
    const next = join(directory, `${logs.length}.db`);
    expect(createAuditLog(next)).toBe(true);
    expect(verifyBySpec(next)).toMatchObject({ rows: { length: 1 }, problems: [] });
  }
  // Otherwise no kill came in the middle, and this test has shown nothing.
  expect(drafts).toBeGreaterThan(0);
});
