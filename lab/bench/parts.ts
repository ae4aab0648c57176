// Runs in the node, bundled with the product's own functions: makes the containers that its
// arguments name as `op-dbus container create` does, and prints where the time of each went.
import { openAuditLog } from "../../src/audit/audit-log.ts";
import { recordAll } from "../../src/audit/record.ts";
import { createContainer, prepareCreate } from "../../src/containers/create.ts";
import type { Host } from "../../src/host/host.ts";
import { localHost } from "../../src/host/local-host.ts";
import { AUDIT_DATABASE } from "../../src/paths.ts";

/** What making a container is made of. */
export type Part = "files" | "snapshot" | "rename" | "link" | "audit" | "looks";

const PART_OF: Partial<Record<keyof Host, Part>> = {
  makeDirectory: "files",
  createText: "files",
  run: "snapshot",
  rename: "rename",
  makeLink: "link",
  stat: "looks",
  readLink: "looks",
  readText: "looks",
};

let spent: Partial<Record<Part, number>> = {};

/** A host that notes how long each of its functions took. */
function timed(host: Host): Host {
  const wrapped = Object.entries(host).map(([verb, value]) => {
    const part = PART_OF[verb as keyof Host];
    if (part === undefined) return [verb, value];
    const call = value as (...args: unknown[]) => Promise<unknown>;
    return [verb, (...args: unknown[]) => during(part, () => call(...args))];
  });
  return Object.fromEntries(wrapped) as Host;
}

async function during<T>(part: Part, work: () => T | Promise<T>): Promise<T> {
  const started = performance.now();
  try {
    return await work();
  } finally {
    spent[part] = (spent[part] ?? 0) + performance.now() - started;
  }
}

const names = process.argv.slice(2);
const host = timed(localHost(new AbortController().signal));
const prepared = await prepareCreate(host, {
  template: "debian-base",
  network: "none",
  cores: 2,
  memoryMiB: 2048,
  swapMiB: 512,
  sshKeys: [],
  limits: "best-effort",
});
const actor = { user: "root", pid: process.pid, node: host.name };
const intents = names.map((target) => ({ operation: "container_create", target, metadata: {} }));
const found: Partial<Record<Part, number>>[] = [];
for (const [index, one] of recordAll(() => openAuditLog(AUDIT_DATABASE), intents, actor).entries()) {
  const started = performance.now();
  spent = {};
  await createContainer(host, names[index] ?? "", prepared);
  const durationMs = Math.round(performance.now() - started);
  await during("audit", () => one.finish({ status: "ok", durationMs }));
  found.push(spent);
}
process.stdout.write(`${JSON.stringify(found)}\n`);
