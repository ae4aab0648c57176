import { createHash } from "node:crypto";
import type { Host, HostView } from "../host/host.ts";
import type { Report } from "../report/report.ts";
import { noteOnReceipt, readReceipt } from "./receipt.ts";

/** A file that comes with the program, and that an admin may edit. */
export interface ShippedFile {
  readonly path: string;
  readonly text: string;
}

/** What an edited file gets beside it. */
const SUFFIX = ".opdbus-new";

/** What is to be done about a file, from what was shipped before, what is shipped now, and what is there. */
type Plan = "keep" | "write" | "offer";

/** What is to be done about these files, as sentences. */
export async function planShippedFiles(host: HostView, files: readonly ShippedFile[]): Promise<string[]> {
  const sentences: string[] = [];
  for (const file of files) {
    const plan = await planFile(host, file);
    if (plan === "write") sentences.push(`Write ${file.path}`);
    if (plan === "offer")
      sentences.push(`Write ${file.path}${SUFFIX}: ${file.path} was edited here and stays as it is`);
  }
  return sentences;
}

/**
 * Brings files to what this version ships. One that nobody edited is replaced;
 * an edited one is kept, and what has changed in ours is laid beside it, once.
 */
export async function writeShippedFiles(host: Host, files: readonly ShippedFile[], report: Report): Promise<void> {
  for (const file of files) {
    const { path, text } = file;
    const plan = await planFile(host, file);
    if (plan === "keep") continue;
    const { shipped } = await readReceipt(host);
    const now = digestOf(text);
    const known = (shipped[path] ?? []).filter((digest) => digest !== now);
    const note = () => noteOnReceipt(host, { shipped: { [path]: [...known, now] } });
    if (plan === "write") {
      // noted first: a text that was shipped must be known as ours, whatever cuts this off
      await note();
      await host.writeText(path, text);
    } else {
      await host.writeText(`${path}${SUFFIX}`, text);
      report({
        kind: "warn",
        text: `${path} was edited here and is kept; what this version ships is beside it, ${path}${SUFFIX}`,
      });
      await note();
    }
  }
}

async function planFile(host: HostView, { path, text }: ShippedFile): Promise<Plan> {
  const there = await host.digest(path);
  const now = digestOf(text);
  if (there === undefined) return "write";
  if (there === now) return "keep";
  const before = (await readReceipt(host)).shipped[path] ?? [];
  if (before.includes(there)) return "write";
  return before.at(-1) === now ? "keep" : "offer";
}

function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
