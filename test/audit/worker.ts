// Run as a process of its own: node worker.ts <job> <path> [<count>]. Announces each result at once.
import { readdirSync, rmSync, writeSync } from "node:fs";
import { openAuditLog, readAuditLog } from "../../src/audit/audit-log.ts";
import { createAuditLog } from "../../src/audit/create-audit-log.ts";

const [job, path = "", count = "0"] = process.argv.slice(2);
const say = (line: string | number | boolean) => writeSync(1, `${line}\n`);

function append(): void {
  const log = openAuditLog(path);
  say("ready");
  for (let n = 0; n < Number(count); n += 1) {
    const target = `${process.pid}-${n}`;
    const [id] = log.append({ operation: "append", target, metadata: { n } });
    say(`${id} ${target}`);
  }
  log.close();
}

function createMany(): void {
  say("ready");
  for (let n = 0; n < Number(count); n += 1) say(createAuditLog(`${path}/${n}.db`));
}

function fill(): void {
  createAuditLog(path);
  const log = openAuditLog(path);
  const entry = { operation: "fill", target: "disk", metadata: { text: "x".repeat(2000) } };
  try {
    for (;;) log.append(entry);
  } catch (error) {
    sayError(error);
  }
  say(JSON.stringify(log.verify()));
}

function open(): void {
  try {
    openAuditLog(path).close();
    say("opened");
  } catch (error) {
    sayError(error);
  }
}

/** Reads by way of a folder in /dev/shm, which is written to also where `path` cannot be. */
function read(): void {
  const log = readAuditLog(path, `/dev/shm/opdbus-audit-${process.pid}`);
  say(JSON.stringify({ verdict: log.verify(), last: log.recent({ limit: 1 })[0]?.target }));
  log.close();
  say(readdirSync(`/dev/shm/opdbus-audit-${process.pid}`).length);
  rmSync(`/dev/shm/opdbus-audit-${process.pid}`, { recursive: true });
}

/** Leaves what it appended in the write-ahead log. */
function die(): void {
  createAuditLog(path);
  openAuditLog(path).append({ operation: "append", target: "last", metadata: {} });
  process.kill(process.pid, "SIGKILL");
}

function sayError(error: unknown): void {
  say(error instanceof Error ? `${error.name}: ${error.message}` : String(error));
}

const jobs: Record<string, () => void> = { append, createMany, die, fill, open, read };
jobs[job ?? ""]?.();
