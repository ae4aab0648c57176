// Runs on a machine of its own (see journal.test.ts), because the paths of the log and its journal are fixed.
import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { openAuditLog } from "../../src/audit/audit-log.ts";
import { createAuditLog } from "../../src/audit/create-audit-log.ts";
import { localHost } from "../../src/host/local-host.ts";
import { journalRecorder } from "../../src/install/journal.ts";
import { AUDIT_DATABASE, HOST_STATE } from "../../src/paths.ts";

const JOURNAL = `${HOST_STATE}/install-journal.jsonl`;
const host = localHost(new AbortController().signal);
const record = journalRecorder(host, { user: "root", pid: process.pid, node: "node1" });
const step = (target: string, change: () => void = () => {}) =>
  record("install_step", target, { changes: ["x"] }, async () => change());

if (process.argv[2] === "another") {
  await step("another");
  process.exit(0);
}
await host.makeDirectory(dirname(AUDIT_DATABASE));
let journal = "";
if (process.argv[2] === "cut-line") {
  await host.makeDirectory(HOST_STATE);
  writeFileSync(JOURNAL, '{"timestamp":1700000000,"operation":"install_st');
} else {
  await step("environment");
  writeFileSync(JOURNAL, readFileSync(JOURNAL, "utf8").replaceAll(/"timestamp":\d+/g, '"timestamp":1700000000'));
}
await step("audit", () => {
  journal = readFileSync(JOURNAL, "utf8");
  createAuditLog(AUDIT_DATABASE);
});
if (process.argv[2] === "late") {
  // the intent of a change that goes on was moved by another run already; the outcome comes to the journal
  const intent = "6c0f7a52-0000-4000-8000-000000000001";
  const line = (metadata: object, timestamp: number) =>
    `${JSON.stringify({ timestamp, operation: "x", target: "long", metadata })}\n`;
  writeFileSync(JOURNAL, line({ journal: intent, status: "started" }, 1_700_000_000));
  await step("other");
  writeFileSync(JOURNAL, line({ journal: "second", status: "ok", started: intent }, 1_700_009_999));
}
if (process.argv[2] === "two") {
  const lines = Array.from({ length: 1500 }, (_, i) => ({
    timestamp: 1_700_000_000,
    operation: "x",
    target: String(i),
    metadata: { journal: `line-${i}` },
  }));
  writeFileSync(JOURNAL, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  const worker = fileURLToPath(import.meta.url);
  await Promise.all([1, 2, 3].map(() => promisify(execFile)(process.execPath, [worker, "another"])));
}
if (process.argv[2] !== "cut-line") await step("sockets");
if (process.argv[2] === "crash") {
  // the journal as it was when all of it had been appended, and not yet removed
  writeFileSync(JOURNAL, journal);
  await step("plugins");
}
const log = openAuditLog(AUDIT_DATABASE);
process.stdout.write(JSON.stringify(log.recent({})));
log.close();
