import { closeSync, readFileSync } from "node:fs";
import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { execa, type Options } from "execa";
import { type Booted, namespaceOptions } from "./boot.ts";
import { listProcesses } from "./cgroups.ts";
import { findProcess, openOutput, sendSignal, waitUntil } from "./processes.ts";
import { nodeDirectory } from "./record.ts";

/** How a command in a node ended. */
export interface Finished {
  /** As systemd-run gives it: 255 for a command that was ended by a signal, 124 after a timeout. */
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How a command is run in a node. */
export interface RunOptions {
  /** Its standard input; else that is empty. */
  readonly input?: string;
  /** After this long the command and all it started are killed. Ten minutes unless given. */
  readonly timeoutMs?: number;
  readonly env?: Readonly<Record<string, string>>;
}

/** A command that runs in a node. */
export interface Running {
  /** Sends a signal to the command's main process only, at once; nothing when it has ended. */
  kill(signal: "SIGKILL" | "SIGINT" | "SIGTERM"): Promise<void>;
  readonly done: Promise<Finished>;
}

let counter = 0;

/** Runs a command through the node's systemd and waits for its end. A non-zero exit is no error. */
export async function runInNode(node: Booted, argv: readonly string[], options: RunOptions = {}): Promise<Finished> {
  return launch(node, newUnit(), argv, options);
}

/** The same, with the terminal as its standard output and error; gives the exit code. */
export async function showInNode(node: Booted, argv: readonly string[]): Promise<number> {
  const env = { TERM: process.env["TERM"] ?? "dumb" };
  const result = await enter(node, unitCommand(newUnit(), argv, { env }), {
    stdin: "ignore",
    stdout: "inherit",
    stderr: "inherit",
  });
  return result;
}

/** Starts a command and comes back when its main process runs. */
export async function spawnInNode(node: Booted, argv: readonly string[], options: RunOptions = {}): Promise<Running> {
  const unit = newUnit();
  const done = launch(node, unit, argv, options, ["--service-type=exec"]);
  let ended = false;
  void done.then(
    () => (ended = true),
    () => (ended = true),
  );
  let main: ReturnType<typeof findProcess>;
  const found = async () => ended || (main = await findMainProcess(node, unit)) !== undefined;
  await waitUntil(found, { timeoutMs: 30_000, what: `${argv[0]} to start in ${node.record.name}` });
  return {
    async kill(signal) {
      if (main !== undefined) sendSignal(main, signal);
    },
    done,
  };
}

async function launch(
  node: Booted,
  unit: string,
  argv: readonly string[],
  { input, timeoutMs = 600_000, env }: RunOptions,
  extra: readonly string[] = [],
): Promise<Finished> {
  const directory = join(nodeDirectory(node.record.name), "output");
  await mkdir(directory, { recursive: true });
  // Files and not pipes: what a command leaves running in the node may keep its output open.
  const [outputFile, errorFile] = [join(directory, `${unit}.out`), join(directory, `${unit}.err`)];
  const [stdout, stderr] = [openOutput(outputFile), openOutput(errorFile)];
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    void enter(node, ["/usr/bin/systemctl", "kill", "--signal=SIGKILL", unit], { stdio: "ignore" });
  }, timeoutMs);
  const command = unitCommand(unit, argv, env === undefined ? {} : { env }, extra);
  const exitCode = await enter(node, command, {
    stdout,
    stderr,
    ...(input === undefined ? { stdin: "ignore" } : { input }),
  });
  clearTimeout(timer);
  closeSync(stdout);
  closeSync(stderr);
  const finished = { stdout: await readFile(outputFile, "utf8"), stderr: await readFile(errorFile, "utf8") };
  await Promise.all([rm(outputFile), rm(errorFile)]);
  if (!timedOut) return { exitCode, ...finished };
  return { exitCode: 124, stdout: finished.stdout, stderr: `${finished.stderr}killed after ${timeoutMs / 1000} s\n` };
}

/** systemd-run for one command, in a cgroup it may divide, and whose children outlive it as they would a shell. */
function unitCommand(
  unit: string,
  argv: readonly string[],
  { env = {} }: Pick<RunOptions, "env">,
  extra: readonly string[] = [],
): string[] {
  const environment = { LC_ALL: "C.UTF-8", HOME: "/root", ...env };
  return [
    "/usr/bin/systemd-run",
    "--quiet",
    "--pipe",
    "--wait",
    "--collect",
    `--unit=${unit}`,
    ...extra,
    "--property=Delegate=yes",
    "--property=KillMode=process",
    "--working-directory=/root",
    ...Object.entries(environment).map(([name, value]) => `--setenv=${name}=${value}`),
    // systemd would put its own variables where an argument has a dollar.
    "--",
    ...argv.map((argument) => argument.replaceAll("$", "$$$$")),
  ];
}

async function enter(node: Booted, argv: readonly string[], options: Options): Promise<number> {
  const result = await execa("nsenter", [...namespaceOptions(node.init), ...argv], {
    ...options,
    env: { PATH: process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C.UTF-8" },
    extendEnv: false,
    reject: false,
  });
  return result.exitCode ?? 255;
}

/** The unit's main process by its number on this machine, once it runs the command. */
async function findMainProcess(node: Booted, unit: string): Promise<ReturnType<typeof findProcess>> {
  const show = ["/usr/bin/systemctl", "show", "--property=MainPID,ActiveState,ControlGroup", unit];
  const result = await execa("nsenter", [...namespaceOptions(node.init), ...show], { reject: false, stdin: "ignore" });
  const properties = new Map(
    result.stdout.split("\n").map((line) => [line.replace(/=.*/, ""), line.replace(/^[^=]*=/, "")]),
  );
  if (properties.get("ActiveState") !== "active") return undefined;
  const group = join(node.record.cgroups[0] ?? "", properties.get("ControlGroup") ?? "");
  const main = listProcesses(group).find((pid) => pidInNode(pid) === properties.get("MainPID"));
  return main === undefined ? undefined : findProcess(main);
}

function pidInNode(pid: number): string | undefined {
  try {
    return /^NSpid:.*\t(?<inner>\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.groups?.["inner"];
  } catch {
    return undefined;
  }
}

function newUnit(): string {
  return `lab-${process.pid}-${++counter}.service`;
}
