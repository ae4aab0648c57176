import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { makeProgram } from "../src/cli/program.ts";

const FOLDER = join(import.meta.dirname, "man");

/** What a manual says that the program, its settings and the map say already. */
interface Sources {
  readonly version: string;
  /** The date of the pages, in seconds since 1970. */
  readonly date: number;
  /** Text of opdbus.toml as it is shipped. */
  readonly settings: string;
  /** Text of docs/architecture.md: where things lie on a host, and the exit codes. */
  readonly architecture: string;
}

/**
 * The manual pages: what is written in packaging/man, with the parts filled in
 * that would otherwise be said twice.
 * @returns file name, such as `op-dbus.1`, to text for man(7)
 */
export function manualPages({ version, date, settings, architecture }: Sources): Record<string, string> {
  const day = new Date(date * 1000).toISOString().slice(0, 10);
  const program = makeProgram();
  const isInstallers = ({ name }: { name: string }) => ["install", "uninstall", "doctor"].includes(name);
  const commands = leaves(program);
  const parts = (page: string): Record<string, () => string> => ({
    DATE: () => day,
    VERSION: () => version,
    COMMANDS: () =>
      commands
        .filter((each) => isInstallers(each) === page.startsWith("opdbus-pve"))
        .map(commandText)
        .join("\n"),
    FILES: () =>
      tableOf(architecture, "On the host")
        .map(([where = "", what = ""]) => `.TP\n.I ${escaped(where)}\n${escaped(what)}`)
        .join("\n"),
    EXIT: () =>
      tableOf(architecture, "Exit codes")
        .map(([code = "", what = ""]) => `.TP\n.B ${code}\n${escaped(what)}`)
        .join("\n"),
    SETTINGS: () => settingsText(settings),
  });
  return Object.fromEntries(
    readdirSync(FOLDER).map((page) => {
      const text = readFileSync(join(FOLDER, page), "utf8");
      return [page, text.replaceAll(/@([A-Z]+)@/g, (_, name: string) => parts(page)[name]?.() ?? "")];
    }),
  );
}

interface Leaf {
  /** As it is typed, such as `container create`. */
  readonly name: string;
  readonly command: Command;
}

function leaves(command: Command, above: readonly string[] = []): Leaf[] {
  const shown = command
    .createHelp()
    .visibleCommands(command)
    .filter((each) => each.name() !== "help");
  return shown.flatMap((each) => {
    const words = [...above, each.name()];
    return each.commands.length > 0 ? leaves(each, words) : [{ name: words.join(" "), command: each }];
  });
}

/** Options that every command has, which the page says once. */
const COMMON = new Set(["--json", "--quiet", "--no-color"]);

function commandText({ name, command }: Leaf): string {
  const args = command.registeredArguments.map((argument) => {
    const shown = argument.name().toUpperCase() + (argument.variadic ? "..." : "");
    return argument.required ? shown : `[${shown}]`;
  });
  const options = command.options.filter(({ long }) => long !== undefined && !COMMON.has(long));
  return [
    `.SS "${escaped([name, ...args].join(" "))}"`,
    sentence(command.description()),
    ...options.map(({ flags, description }) => `.TP\n.B ${escaped(flags)}\n${sentence(description)}`),
  ].join("\n");
}

function sentence(text: string): string {
  return escaped(`${text.charAt(0).toUpperCase()}${text.slice(1)}.`);
}

/** The rows of the table below a heading of a Markdown text, without its header. */
function tableOf(markdown: string, heading: string): string[][] {
  const section = markdown.split(`## ${heading}\n`)[1]?.split("\n## ")[0] ?? "";
  const rows = section
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .slice(2);
  if (rows.length === 0) throw new Error(`There is no table below "${heading}"`);
  return rows.map((row) =>
    row
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim().replaceAll(/[`_]/g, "")),
  );
}

/** Comments before a key explain it; a key is shown with what holds when it is not set. */
function settingsText(toml: string): string {
  const [, ...tables] = toml.split(/^(?=\[)/m);
  return tables.map(tableText).join("\n");
}

function tableText(table: string): string {
  const [heading = "", ...lines] = table.trim().split("\n");
  const out = [`.SS "${heading}"`];
  let comment: string[] = [];
  for (const line of lines) {
    if (/^#\w+ = /.test(line)) {
      out.push(`.TP\n.B ${escaped(line.slice(1))}`, ...comment);
      comment = [];
    } else comment.push(escaped(line.replace(/^# ?/, "")));
  }
  return [...out, ...comment].join("\n");
}

/** Text that roff takes as it is: no line that begins a request, hyphens that can be searched for. */
function escaped(text: string): string {
  return text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll(/^([.'])/gm, "\\&$1")
    .replaceAll('"', "\\(dq");
}
