import { createHash } from "node:crypto";
import { CommandFailed, shellText } from "../src/host/command-failed.ts";
import { UserError } from "../src/host/errors.ts";
import type { Argv, CommandOptions, CommandResult, Host } from "../src/host/host.ts";
import { type Entry, fileChanges, looks, makeTree, type Tree } from "./memory-tree.ts";
import { isReadingVerb } from "../src/host/reading-verbs.ts";

interface Call {
  readonly argv: Argv;
  readonly options: CommandOptions;
  readonly tree: Tree;
  /** Runs the command that this one is only the wrapping of. */
  readonly run: (argv: Argv) => Promise<CommandResult>;
}

/** What a command gives: its output, its exit status, or more than one of them. Nothing is success in silence. */
type Answer = string | number | Partial<CommandResult> | void;
/** What stands for a command: its answer, or what gives it. */
export type Behaviour = Answer | ((call: Call) => Answer | Promise<Answer>);

/** A machine in memory, and what was done to it. */
export interface MemoryHost extends Host {
  readonly tree: Tree;
  /** Every command that was asked for, as one would type it. */
  readonly commands: readonly string[];
  /** Every call that can change the machine, in order: `run btrfs …`, `write /etc/…`. */
  readonly changes: readonly string[];
  /** Commands that nothing stood for; also those whose error was swallowed. */
  readonly unscripted: readonly string[];
  /** Says what commands that begin with these words do, from now on; the longest beginning decides. */
  script(start: string, behaviour: Behaviour): void;
  /** Forgets the commands and changes so far. */
  forget(): void;
}

/** What a machine in memory starts with. */
export interface MemoryMachine {
  /** Path to text, or to an entry. A path that ends in a slash is a directory. */
  readonly files?: Readonly<Record<string, string | Entry>>;
  readonly commands?: Readonly<Record<string, Behaviour>>;
  readonly space?: { total: number; free: number };
  /** What there is at addresses, and at `-`, standard input. */
  readonly network?: Readonly<Record<string, string>>;
}

/** A machine in memory, for tests. A command that is not scripted throws. */
export function memoryHost({ files = {}, commands = {}, space, network = {} }: MemoryMachine = {}): MemoryHost {
  const tree = makeTree();
  for (const [path, entry] of Object.entries(files)) {
    const name = path === "/" ? path : path.replace(/\/$/, "");
    tree.put(name, typeof entry !== "string" ? entry : path.endsWith("/") ? {} : { text: entry });
  }
  const behaviours = new Map(Object.entries(commands));
  const ran: string[] = [];
  const changes: string[] = [];
  const unscripted: string[] = [];

  async function execute(argv: Argv, options: CommandOptions = {}): Promise<CommandResult> {
    const typed = argv.join(" ");
    ran.push(shellText(argv));
    const start = [...behaviours.keys()]
      .filter((each) => `${typed} `.startsWith(`${each} `))
      .toSorted((one, other) => other.length - one.length)[0];
    if (start === undefined) {
      unscripted.push(shellText(argv));
      throw new Error(`unscripted command: ${shellText(argv)}`);
    }
    const behaviour = behaviours.get(start);
    const answer =
      typeof behaviour === "function"
        ? await behaviour({ argv, options, tree, run: (inner) => execute(inner, options) })
        : behaviour;
    const result =
      typeof answer === "string" ? { stdout: answer } : typeof answer === "number" ? { exitCode: answer } : answer;
    for (const line of options.onLine ? (result?.stderr ?? "").split("\n") : []) options.onLine?.(line);
    return { exitCode: 0, stdout: "", stderr: "", ...result };
  }
  async function succeed(argv: Argv, options?: CommandOptions): Promise<CommandResult> {
    const result = await execute(argv, options);
    if (result.exitCode !== 0) throw new CommandFailed(argv, result);
    return result;
  }
  return {
    name: "node1",
    tree,
    commands: ran,
    changes,
    unscripted,
    script: (start, behaviour) => void behaviours.set(start, behaviour),
    forget() {
      ran.length = 0;
      changes.length = 0;
    },
    ...looks(tree),
    ...fileChanges(tree, changes),
    space: async () => space ?? { total: 100 * 2 ** 30, free: 50 * 2 ** 30 },
    async probe(argv, options) {
      if (!isReadingVerb(argv)) throw new Error(`not a reading verb: ${shellText(argv)}`);
      return execute(argv, options);
    },
    async run(argv, options) {
      changes.push(`run ${shellText(argv)}`);
      const result = await succeed(argv, options);
      if (options?.output === undefined) return result;
      if (options.output !== "-") tree.put(options.output, { text: result.stdout });
      return { ...result, stdout: "" };
    },
    async pipe(from, to, options) {
      changes.push(`run ${shellText(from)} | ${shellText(to)}`);
      const { stdout } = await succeed(from, options);
      options?.onBytes?.(Buffer.byteLength(stdout));
      return succeed(to, { input: stdout });
    },
    async stream(argv, take) {
      changes.push(`run ${shellText(argv)}`);
      take(Buffer.from((await succeed(argv)).stdout, "latin1"));
    },
    obtain: obtainFrom(tree, changes, network),
    async interactive(argv) {
      changes.push(`run ${shellText(argv)}`);
      return (await execute(argv)).exitCode;
    },
    lock: makeLock(),
  };
}

function makeLock(): Host["lock"] {
  const locks = new Map<string, string>();
  return async (path, holder) => {
    const other = locks.get(path);
    if (other !== undefined) throw new UserError(`Another run is under way: ${other}`, { exitCode: 6 });
    locks.set(path, holder);
    return async () => void locks.delete(path);
  };
}

/** Bytes are text in latin1 here. */
function obtainFrom(tree: Tree, changes: string[], network: Readonly<Record<string, string>>): Host["obtain"] {
  return async (source, path, { limit, onBytes }) => {
    changes.push(`obtain ${source} to ${path}`);
    const text = network[source] ?? tree.get(source)?.text;
    if (text === undefined) throw new UserError(`Unable to get ${source}: there is no such file`);
    const bytes = Buffer.from(text, "latin1");
    if (bytes.length > limit) throw new UserError(`Unable to get ${source}: it is larger than ${limit} bytes`);
    onBytes?.(bytes.length, bytes.length);
    tree.put(path, { text, mode: 0o600 });
    return { sha256: createHash("sha256").update(bytes).digest("hex"), bytes: bytes.length };
  };
}
