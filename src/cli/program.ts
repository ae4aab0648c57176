import { Command, CommanderError, Option } from "commander";
import { NETWORKS } from "../config/names.ts";
import { EXIT } from "../host/errors.ts";
import { VERSION } from "../version.ts";
import { TYPED } from "./typed.ts";

/**
 * Reads the command line and runs what it asks for. The modules of a command
 * are loaded when it runs.
 */
export async function runProgram(args: readonly string[]): Promise<void> {
  try {
    await makeProgram().parseAsync([...args], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 || error.code === "commander.help" ? 0 : EXIT.usage;
  }
}

/** All commands and their options. */
export function makeProgram(): Command {
  const program = new Command(TYPED);
  program
    .description("Turns a Proxmox VE node or a Debian host into an operation-dbus node")
    .version(VERSION, "-V, --version")
    .enablePositionalOptions()
    .showHelpAfterError("(--help shows what is possible)")
    .exitOverride();
  addInstall(program);
  addUninstall(program);
  addNode(program);
  addTemplate(program);
  addContainer(program);
  addAudit(program);
  addComplete(program);
  return program;
}

/** A command with the options that all take. */
function add(parent: Command, nameAndArguments: string, description: string): Command {
  return parent
    .command(nameAndArguments)
    .description(description)
    .option("--json", "print the result as JSON")
    .option("-q, --quiet", "say only what is wrong")
    .option("--no-color", "no colours");
}

const repeated = (value: string, before: string[] = []) => [...before, value];
const list = (value: string, before: string[] = []) => [...before, ...value.split(",")];

function addInstall(program: Command): void {
  add(program, "install", "bring this host to an installed node; safe to run again")
    .option("--dry-run", "show what would be changed, and change nothing")
    .option("--exit-code", "with --dry-run: exit with 4 when something is to be done")
    .option("-y, --yes", "do not ask")
    .option("--config <file>", "for this run: settings in place of /etc/opdbus/opdbus.toml")
    .option("--only <step...>", "only these steps (also separated by commas)", list)
    .option("--skip <step...>", "all but these steps", list)
    .option("--pool-size <size>", "put the pool into a file of this size, such as 20G")
    .option("--pool-device <device>", "put the pool on this device")
    .option("--confirm-format <device>", "the device's name once more: format it if it is empty")
    .action(async (options) => (await import("./install.ts")).install(options));
}

function addUninstall(program: Command): void {
  add(program, "uninstall", "remove the program; containers and the pool stay unless everything is asked for")
    .option("--settings", "and the settings, in /etc/opdbus")
    .option("--everything", "and the pool with all templates, containers and the record")
    .option("--destroy-containers", "with --everything: also when there are containers")
    .option("--confirm-host <name>", "with --everything: this host's name, instead of typing it")
    .option("--dry-run", "show what would be removed, and change nothing")
    .option("-y, --yes", "do not ask")
    .action(async (options) => (await import("./uninstall.ts")).uninstall(options));
}

function addNode(program: Command): void {
  add(program, "status", "what this node has: pool, templates, containers").action(async (options) =>
    (await import("./node.ts")).status(options),
  );
  add(program, "doctor", "check everything, change nothing")
    .option("--config <file>", "settings in place of /etc/opdbus/opdbus.toml")
    .action(async (options) => (await import("./node.ts")).doctor(options));
  add(program, "query", "the state of this node as one JSON document")
    .option("--save", "write it to @state/current-state.json instead")
    .action(async (options) => (await import("./node.ts")).query(options));
}

function addTemplate(program: Command): void {
  const template = program.command("template").description("container templates");
  add(template, "build <name>", "build a new version and make it the current one")
    .option("--suite <suite>", "one of the definition's suites")
    .option("--sha256 <digest>", "what the definition's archive must be, where it does not say so itself")
    .action(async (name, options) => (await import("./template.ts")).build(name, options));
  add(template, "list", "all templates and definitions").action(async (options) =>
    (await import("./template.ts")).list(options),
  );
  add(template, "show <name>", "versions and content of a template")
    .option("--packages", "with all packages")
    .action(async (name, options) => (await import("./template.ts")).show(name, options));
  add(template, "verify <name>", "compute the digest again and compare")
    .option("--template-version <version>", "this version; the current one otherwise")
    .action(async (name, options) => (await import("./template.ts")).verify(name, options));
  add(template, "shift <name>", "make a twin of a version with its ids shifted on the disk, as Proxmox VE wants them")
    .option("--template-version <version>", "this version; the current one otherwise")
    .option("--id-start <id>", "the id that root gets; 65536 ids follow each other", "100000")
    .action(async (name, options) => (await import("./template.ts")).shift(name, options));
  add(template, "use <name> <version>", "make a version the current one, from which new containers come").action(
    async (name, version, options) => (await import("./template.ts")).use(name, version, options),
  );
  add(template, "remove <name>", "remove a template, or one version of it")
    .option("--template-version <version>", "only this version")
    .option("-y, --yes", "do not ask")
    .action(async (name, options) => (await import("./template.ts")).remove(name, options));
  add(template, "export <name>", "pack a version as an archive, and print its SHA-256")
    .option("--template-version <version>", "this version; the current one otherwise")
    .option("-o, --output <file>", "where to; - is standard output; NAME_VERSION_amd64.tar.zst here otherwise")
    .action(async (name, options) => (await import("./template-archive.ts")).exportArchive(name, options));
  add(template, "import <file>", "make an archive (- is standard input) a new version and the current one")
    .requiredOption("--name <name>", "the template")
    .option("--sha256 <digest>", "what the archive must be")
    .action(async (file, options) => (await import("./template-archive.ts")).importArchive(file, options));
  add(template, "prune [name...]", "remove old versions, of all templates unless named")
    .option("--keep <number>", "how many stay; [templates] keep otherwise")
    .option("--dry-run", "show what would be removed, and remove nothing")
    .option("-y, --yes", "do not ask")
    .action(async (names, options) => (await import("./template-upkeep.ts")).prune(names, options));
  add(template, "refresh [name...]", "build the program's own templates anew, never yours").action(
    async (names, options) => (await import("./template-upkeep.ts")).refresh(names, options),
  );
}

function addContainer(program: Command): void {
  const container = program.command("container").description("containers").enablePositionalOptions();
  add(container, "create <name...>", "make containers from a template")
    .option("--template <template>", "the template; [container.defaults] template otherwise")
    .option("--template-version <version>", "one version of it; the current one otherwise")
    .addOption(new Option("--network <network>", "its network; mesh is not in this version").choices(NETWORKS))
    .option("--cores <number>", "processor cores")
    .option("--memory <MiB>", "memory in MiB")
    .option("--swap <MiB>", "swap in MiB")
    .option("--ip <address>", "address such as 10.0.0.5/24, or dhcp")
    .option("--ssh-key <file>", "public key for root, as a file or as text (repeat)", repeated)
    .option("--onboot", "start it with the host")
    .option("--start", "start it")
    .option("--wait", "start it, and wait until its services run")
    .addOption(new Option("--for-lxc-create <folder>", "take the place of what lxc-create has begun").hideHelp())
    .action(async (names, options) => (await import("./container-create.ts")).create(names, options));
  add(container, "list", "all containers")
    .option("--running", "only those that run")
    .option("--stopped", "only those that do not")
    .action(async (options) => (await import("./container.ts")).list(options));
  add(container, "show <name>", "what is known of a container").action(async (name, options) =>
    (await import("./container.ts")).show(name, options),
  );
  add(container, "start <name...>", "start containers")
    .option("--wait", "wait until their services run")
    .action(async (names, options) => (await import("./container.ts")).start(names, options));
  add(container, "stop <name...>", "stop containers in good order")
    .option("--force", "pull the plug")
    .option("--timeout <seconds>", "how long to wait for an orderly halt", "60")
    .action(async (names, options) => (await import("./container.ts")).stop(names, options));
  add(container, "restart <name...>", "stop and start containers")
    .option("--wait", "wait until their services run")
    .option("--timeout <seconds>", "how long to wait for an orderly halt", "60")
    .action(async (names, options) => (await import("./container.ts")).restart(names, options));
  add(container, "exec <name> <command...>", "run a command in a container, as its root")
    .passThroughOptions()
    .action(async (name, command, options) => (await import("./container.ts")).exec(name, command, options));
  add(
    container,
    "console <name>",
    "log in on a container's console; root needs a password for that: container exec NAME -- passwd",
  ).action(async (name, options) => (await import("./container.ts")).openConsole(name, options));
  add(container, "logs <name>", "the journal of a container, or why it did not start")
    .option("-f, --follow", "go on as lines come")
    .option("-n, --lines <number>", "the last lines", "100")
    .action(async (name, options) => (await import("./container.ts")).logs(name, options));
  add(container, "destroy <name...>", "remove containers and their data for good")
    .option("--force", "also one that runs")
    .option("-y, --yes", "do not ask")
    .action(async (names, options) => (await import("./container.ts")).destroy(names, options));
  add(container, "publish <name> <template>", "make a stopped container a new version of a template").action(
    async (name, template, options) => (await import("./container-publish.ts")).publish(name, template, options),
  );
  addSnapshots(container);
  addClones(container);
}

function addSnapshots(container: Command): void {
  add(container, "snapshot <name> [snapshot]", "take a sealed snapshot of a container, its configuration with it")
    .option("--note <text>", "what it is for")
    .action(async (name, snapshot, options) => (await import("./container-snapshot.ts")).take(name, snapshot, options));
  add(container, "listsnapshot <name>", "the snapshots of a container, oldest first").action(async (name, options) =>
    (await import("./container-snapshot.ts")).list(name, options),
  );
  add(container, "delsnapshot <name> <snapshot...>", "remove snapshots for good")
    .option("-y, --yes", "do not ask")
    .action(async (name, snapshots, options) =>
      (await import("./container-snapshot.ts")).remove(name, snapshots, options),
    );
  add(
    container,
    "rollback <name> <snapshot>",
    "take a stopped container back to a snapshot: files, limits and configuration",
  )
    .option("--start", "start it afterwards")
    .option("-y, --yes", "do not ask")
    .option("--discard-subvolumes", "with --yes: also when subvolumes inside it, which no snapshot holds, are lost")
    .action(async (name, snapshot, options) =>
      (await import("./container-snapshot.ts")).rollback(name, snapshot, options),
    );
}

function addClones(container: Command): void {
  add(container, "clone <name> <new...>", "make containers from another, with an identity of their own")
    .option("--snapshot <snapshot>", "from a snapshot of it, not from its present state")
    .option("--start", "start them")
    .option("--wait", "start them, and wait until their services run")
    .action(async (name, names, options) => (await import("./container-clone.ts")).clone(name, names, options));
  add(container, "rename <name> <new>", "give a stopped container another name").action(async (name, to, options) =>
    (await import("./container-clone.ts")).rename(name, to, options),
  );
  add(container, "copy <name>", "copy a container into another pool; its snapshots stay")
    .requiredOption("--to <mountpoint>", "where that pool, a BTRFS file system, is mounted")
    .option("--name <name>", "what it is called there; as here otherwise")
    .action(async (name, options) => (await import("./container-clone.ts")).copy(name, options));
}

function addAudit(program: Command): void {
  const audit = program.command("audit").description("the record of all changes");
  add(audit, "log", "the newest entries")
    .option("-n, --lines <number>", "how many", "50")
    .option("--operation <operation>", "only this operation")
    .option("--target <target>", "only this target")
    .action(async (options) => (await import("./audit.ts")).log(options));
  add(audit, "verify", "check the hash chain").action(async (options) => (await import("./audit.ts")).verify(options));
}

/** What the completion functions of the shells ask, see packaging/root/usr/share. */
function addComplete(program: Command): void {
  program
    .command("complete [words...]", { hidden: true })
    .passThroughOptions()
    .action(async (words) => (await import("./complete.ts")).complete(program, words));
}
