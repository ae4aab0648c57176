import type { Command, Option } from "commander";
import { listContainers } from "../containers/record.ts";
import type { HostView } from "../host/host.ts";
import { localHost } from "../host/local-host.ts";
import { listTemplates } from "../templates/manifest.ts";
import { createRenderer } from "./renderer.ts";

/** What can be typed next, and what it is; nothing is said of a name. */
export type Candidate = readonly [word: string, description: string];

/** Prints what can follow, one a line: the word, a tab, what it is. Whatever goes wrong while somebody types says nothing. */
export async function complete(program: Command, words: readonly string[]): Promise<void> {
  const out = createRenderer({ quiet: true, color: false });
  const host = localHost(new AbortController().signal);
  const found = await candidates(program, words, host).catch((): Candidate[] => []);
  for (const [word, description] of found) out.print(`${word}\t${description}`);
}

/**
 * What can follow on a command line; nothing where only a path can, or
 * something that nobody can guess.
 * @param words what was typed behind the program's name; the last one is unfinished, and may be empty
 */
export async function candidates(program: Command, words: readonly string[], host: HostView): Promise<Candidate[]> {
  const unfinished = words.at(-1) ?? "";
  // behind it stands what is not ours to know, such as a command for a container
  if (words.slice(0, -1).includes("--")) return [];
  const { command, option, position } = follow(program, words.slice(0, -1));
  const all = option ? await valuesOf(option, host) : await nextWords(command, position, unfinished, words, host);
  return all.filter(([word]) => word.startsWith(unfinished));
}

interface Place {
  readonly command: Command;
  /** The option whose value comes next. */
  readonly option: Option | undefined;
  /** How many arguments of the command are there already. */
  readonly position: number;
}

function follow(program: Command, finished: readonly string[]): Place {
  let command = program;
  let option: Option | undefined;
  let position = 0;
  for (const word of finished) {
    const sub = position === 0 ? command.commands.find((each) => each.name() === word) : undefined;
    if (option !== undefined) option = undefined;
    else if (word.startsWith("-"))
      option = command.options.find((each) => [each.short, each.long].includes(word) && each.required);
    else if (sub === undefined) position += 1;
    else command = sub;
  }
  return { command, option, position };
}

async function nextWords(
  command: Command,
  position: number,
  unfinished: string,
  words: readonly string[],
  host: HostView,
): Promise<Candidate[]> {
  if (unfinished.startsWith("-")) {
    const left = command.options.filter(({ long }) => long !== undefined && !words.includes(long));
    return [...left.map(({ long = "", description }) => [long, description] as const), ["--help", "explain it"]];
  }
  const shown = command.createHelp().visibleCommands(command);
  if (command.commands.length > 0) return position > 0 ? [] : shown.map((each) => [each.name(), each.description()]);
  const argument = command.registeredArguments[Math.min(position, command.registeredArguments.length - 1)];
  const isNext = argument !== undefined && (position < command.registeredArguments.length || argument.variadic);
  if (!isNext) return [];
  const taken = new Set(words.slice(0, -1));
  return (await namesFor(command, argument.name(), host)).filter(([name]) => !taken.has(name));
}

async function valuesOf({ long, argChoices }: Option, host: HostView): Promise<Candidate[]> {
  if (argChoices) return argChoices.map((choice) => [choice, ""]);
  return long === "--template" ? named(await listTemplates(host)) : [];
}

async function namesFor(command: Command, argument: string, host: HostView): Promise<Candidate[]> {
  const noun = command.parent?.name();
  if (argument !== "name" || command.name() === "create") return [];
  if (noun === "container") return named(await listContainers(host));
  if (noun !== "template") return [];
  const { listDefinitions } = await import("../templates/definition.ts");
  const defined = command.name() === "build" ? await listDefinitions(host) : [];
  return named([...new Set([...defined, ...(await listTemplates(host))])].toSorted());
}

function named(names: readonly string[]): Candidate[] {
  return names.map((name) => [name, ""]);
}
