import { EXIT, Interrupted, messageOf, UserError } from "../host/errors.ts";
import { jsonText } from "../report/json.ts";
import { layOut } from "../report/table.ts";
import type { Report, ReportEvent } from "../report/report.ts";
import { asTyped, withTypedHints } from "./typed.ts";

/** How commands speak to people and to programs. */
export interface Renderer {
  /** Progress and remarks, on standard error. */
  readonly report: Report;
  /** Whether a person can be asked. */
  readonly interactive: boolean;
  /** Results, on standard output. */
  print(text: string): void;
  /** Results as a table with a header, on standard output. */
  table(header: readonly string[], rows: readonly (readonly string[])[]): void;
  /** Results as one JSON document, on standard output. */
  json(value: unknown): void;
  /** An error that a person can act on, or one of ours with its stack; on standard error. */
  fail(error: unknown, asJson: boolean): void;
  /** Asks for a line on the terminal. */
  ask(question: string): Promise<string>;
}

interface Style {
  readonly colour: boolean;
  readonly quiet: boolean;
}

/** The only place that prints. Colour where the terminal has it and nobody said no (no-color.org, CLICOLOR_FORCE). */
export function createRenderer(options: { quiet: boolean; color: boolean }): Renderer {
  const { stdin, stdout, stderr } = process;
  const wanted = options.color && !process.env["NO_COLOR"];
  const style: Style = {
    colour: wanted && (stderr.isTTY || Boolean(process.env["CLICOLOR_FORCE"])),
    quiet: options.quiet,
  };
  // a reader that went away (`| head`), or a full disk behind it, must not end a change half way
  let toldOfLoss = false;
  for (const stream of [stdout, stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EPIPE" || toldOfLoss) return;
      toldOfLoss = true;
      process.exitCode ||= EXIT.failed;
      if (stream === stdout) stderr.write(`error: Unable to write the result: ${error.message}\n`);
    });
  }
  let gaveJson = false;
  // one line that progress rewrites; anything else that is said goes above it
  let pending = "";
  const clear = () => {
    if (pending !== "") stderr.write("\r\u001B[K");
    pending = "";
  };
  const say = (text: string, code?: string) => {
    clear();
    const safe = harmless(text);
    stderr.write(`${code === undefined ? safe : paint(style, code, safe)}\n`);
  };
  const progress = (event: Extract<ReportEvent, { kind: "progress" }>) => {
    const text = harmless(progressText(event));
    if (!stderr.isTTY) return say(text);
    pending = text.slice(0, Math.max(20, (stderr.columns || 80) - 1));
    stderr.write(`\r\u001B[K${pending}`);
  };
  return {
    interactive: stdin.isTTY && stderr.isTTY,
    report(event) {
      if (event.kind === "warn") return say(`warning: ${event.text}`, "33");
      if (style.quiet) return;
      if (event.kind === "progress") return progress(event);
      say(event.text);
    },
    print(text) {
      clear();
      stdout.write(`${harmless(text)}\n`);
    },
    table(header, rows) {
      for (const line of layOut([header, ...rows])) this.print(line);
    },
    json(value) {
      gaveJson = true;
      this.print(jsonText(withTypedHints(value)));
    },
    fail(error, asJson) {
      const known = error instanceof UserError ? error : undefined;
      // a result that was given already says more: there is one document on standard output
      if (asJson && !gaveJson) this.json({ schema: 1, error: describeError(error) });
      if (known === undefined)
        return say(`This is a bug in opdbus-pve:\n${error instanceof Error ? error.stack : String(error)}`);
      say(`error: ${known.message}`, "31");
      const hint = asTyped(known.hint ?? "").split("\n");
      for (const line of hint.filter(Boolean)) say(`  ${line}`, "1");
    },
    async ask(question) {
      const { createInterface } = await import("node:readline/promises");
      clear();
      const terminal = createInterface({ input: stdin, output: stderr });
      const given = terminal.question(question);
      // Ctrl-C and Ctrl-D are answers, too
      const refused = new Promise<never>((_, reject) => {
        terminal.once("SIGINT", () => reject(new Interrupted()));
        terminal.once("close", () => reject(new UserError("No answer was given; nothing was done")));
      });
      try {
        return (await Promise.race([given, refused])).trim();
      } finally {
        given.catch(() => {});
        refused.catch(() => {});
        terminal.close();
      }
    },
  };
}

/** An error as it stands in a JSON result. */
export function describeError(error: unknown): { message: string; hint: string | null } {
  const hint = error instanceof UserError ? error.hint : undefined;
  return { message: messageOf(error), hint: hint ?? null };
}

function progressText({ task, fraction, detail }: Extract<ReportEvent, { kind: "progress" }>): string {
  const share = fraction === undefined ? "" : `[${String(Math.round(fraction * 100)).padStart(3)} %] `;
  return `${share}${task}${detail === undefined ? "" : `: ${detail}`}`;
}

/** Text without the control characters that a guest could steer the terminal with by the name of a file. */
function harmless(text: string): string {
  return text.replaceAll(/[^\P{Cc}\n\t]/gu, "\uFFFD");
}

function paint({ colour }: Style, code: string, text: string): string {
  return colour ? `\u001B[${code}m${text}\u001B[0m` : text;
}
