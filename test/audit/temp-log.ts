import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { type AuditLog, openAuditLog } from "../../src/audit/audit-log.ts";
import { createAuditLog } from "../../src/audit/create-audit-log.ts";
import type { AuditEntry } from "../../src/audit/rows.ts";

/** Returns an empty directory that goes away with the test. */
export function tempDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "opdbus-audit-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Makes a log in a temporary directory. Returns its path and the open log, which closes with the test. */
export function tempLog(now?: () => number): { path: string; log: AuditLog } {
  const path = join(tempDirectory(), "blockchain.db");
  createAuditLog(path, now);
  const log = openAuditLog(path, { busyTimeoutMs: 100, ...(now && { now }) });
  onTestFinished(() => log.close());
  return { path, log };
}

/** Returns one entry, the n-th of a series without repetition. */
export function entry(n: number): AuditEntry {
  return { operation: `operation_${n}`, target: `target-${n}`, metadata: { n } };
}
