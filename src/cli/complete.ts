import type { Command, Option } from "commander";
import { checkContainerName, checkTemplateName } from "../config/names.ts";
import { listContainers } from "../containers/record.ts";
import { snapshotNames } from "../containers/snapshot.ts";
import type { HostView } from "../host/host.ts";
import { localHost } from "../host/local-host.ts";
import { listTemplates, listVersions } from "../templates/manifest.ts";
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
  const { command, option, given } = follow(program, words.slice(0, -1));
  const all = option ? await valuesOf(option, host) : await nextWords(command, given, unfinished, words, host);
  return all.filter(([word]) => word.startsWith(unfinished));
}

interface Place {
  readonly command: Command;
  /** The option whose value comes next. */
  readonly option: Option | undefined;
  /** The arguments of the command that are there already. */
  readonly given: readonly string[];
}

function follow(program: Command, finished: readonly string[]): Place {
  let command = program;
  let option: Option | undefined;
  const given: string[] = [];
  for (const word of finished) {
    const sub = given.length === 0 ? command.commands.find((each) => each.name() === word) : undefined;
    if (option !== undefined) option = undefined;
    else if (word.startsWith("-"))
      option = command.options.find((each) => [each.short, each.long].includes(word) && each.required);
    else if (sub === undefined) given.push(word);
    else command = sub;
  }
  return { command, option, given };
}

async function nextWords(
  command: Command,
  given: readonly string[],
  unfinished: string,
  words: readonly string[],
  host: HostView,
): Promise<Candidate[]> {
  if (unfinished.startsWith("-")) {
    const left = command.options.filter(({ long }) => long !== undefined && !words.includes(long));
    return [...left.map(({ long = "", description }) => [long, description] as const), ["--help", "explain it"]];
  }
  const shown = command.createHelp().visibleCommands(command);
  if (command.commands.length > 0)
    return given.length > 0 ? [] : shown.map((each) => [each.name(), each.description()]);
  const taken = command.registeredArguments;
  const argument = taken[Math.min(given.length, taken.length - 1)];
  const isNext = argument !== undefined && (given.length < taken.length || argument.variadic);
  if (!isNext) return [];
  const all =
    argument.name() === "name" ? await namesFor(command, host) : await thingsOf(command, argument.name(), given, host);
  return all.filter(([name]) => !given.includes(name));
}

async function valuesOf({ long, argChoices }: Option, host: HostView): Promise<Candidate[]> {
  if (argChoices) return argChoices.map((choice) => [choice, ""]);
  return long === "--template" ? named(await listTemplates(host)) : [];
}

async function namesFor(command: Command, host: HostView): Promise<Candidate[]> {
  const noun = command.parent?.name();
  if (command.name() === "create") return [];
  if (noun === "container") return named(await listContainers(host));
  if (noun !== "template") return [];
  const { listDefinitions } = await import("../templates/definition.ts");
  const defined = command.name() === "build" ? await listDefinitions(host) : [];
  return named([...new Set([...defined, ...(await listTemplates(host))])].toSorted());
}

/** What the container or template has of which the name was typed before. */
async function thingsOf(
  command: Command,
  what: string,
  [name = ""]: readonly string[],
  host: HostView,
): Promise<Candidate[]> {
  const noun = command.parent?.name();
  // a new snapshot gets a name that none has
  if (noun === "container" && what === "snapshot" && command.name() !== "snapshot") {
    return named(await snapshotNames(host, checkContainerName(name)));
  }
  if (noun === "template" && what === "version") {
    return named((await listVersions(host, checkTemplateName(name))).map(({ version }) => version));
  }
  return [];
}

function named(names: readonly string[]): Candidate[] {
  return names.map((name) => [name, ""]);
}
