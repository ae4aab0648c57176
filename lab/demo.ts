import { isKept, type LabNode, missingForLab, startNode, stopNode } from "./node.ts";
import { bringDeb, buildLabDeb } from "./program.ts";

const NAME = "demo";

/** What an admin types once the package is there, and why. */
const STORY: readonly (readonly [why: string, ...argv: string[]])[] = [
  ["The host's apt knows its mirror; templates come from there.", "apt-get", "update", "-qq"],
  ["What would be done on this host?", "opdbus-pve", "install", "--dry-run", "--pool-size", "8G"],
  ["Do it.", "opdbus-pve", "install", "--yes", "--pool-size", "8G"],
  ["A second run finds nothing to do.", "opdbus-pve", "install", "--yes"],
  [
    "A container, cloned from the template, started.",
    "op-dbus",
    "container",
    "create",
    "web-01",
    "--template",
    "debian-base",
    "--network",
    "socket",
    "--wait",
  ],
  ["And another.", "op-dbus", "container", "create", "db-01", "--network", "none", "--memory", "512", "--wait"],
  ["A command in each.", "op-dbus", "container", "exec", "web-01", "--", "hostname"],
  ["", "op-dbus", "container", "exec", "db-01", "--", "cat", "/etc/opdbus/template.json"],
  ["What is there?", "op-dbus", "container", "list"],
  ["", "op-dbus", "status"],
  ["The same as one document.", "op-dbus", "query"],
  ["Every change is on record, and the record is a hash chain.", "op-dbus", "audit", "log"],
  ["", "op-dbus", "audit", "verify"],
  ["What does not work yet, or is not as it should be?", "op-dbus", "doctor"],
];

async function demo(keep: boolean): Promise<void> {
  const missing = await missingForLab();
  if (missing.length > 0) {
    say("This machine cannot run the demo:");
    for (const sentence of missing) say(`  ${sentence}`);
    process.exitCode = 3;
    return;
  }
  if (await isKept(NAME)) {
    say("The node of an earlier demo is still there. Remove it with: npm run demo -- --remove");
    process.exitCode = 1;
    return;
  }
  const started = performance.now();
  say("Making a disposable Debian 13 node: its own systemd, disk and network, on this machine's kernel.");
  say("(The first time, its image is built from Debian's packages; that takes half a minute.)");
  const node = await startNode({ name: NAME, keep });
  try {
    const deb = await bringDeb(node, await buildLabDeb());
    await tell(node, "The program comes as a package.", ["apt-get", "install", "--yes", "-qq", deb]);
    for (const [why, ...argv] of STORY) await tell(node, why, argv);
  } finally {
    if (keep && !interrupted) {
      say(`\nThe node stays. Enter it with:\n  ${node.enter}\nRemove it with: npm run demo -- --remove`);
    } else {
      await takeDown();
      say("\nThe node is gone, with all its containers.");
    }
  }
  say(`${((performance.now() - started) / 1000).toFixed(0)} s in all.`);
}

async function tell(node: LabNode, why: string, argv: readonly string[]): Promise<void> {
  if (interrupted) throw new Error("interrupted");
  if (why !== "") say(`\n# ${why}`);
  say(`$ ${argv.join(" ").replace("/root/", "./")}`);
  const exitCode = await node.show(argv);
  if (exitCode !== 0) throw new Error(`${argv.join(" ")} exited with ${exitCode}`);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

let interrupted = false;
let down: Promise<void> | undefined;

function takeDown(): Promise<void> {
  return (down ??= stopNode(NAME).finally(() => (down = undefined)));
}

/** What was begun is taken down again. (npm passes a Ctrl-C on that reaches us from the terminal, too.) */
function takeDownWhenInterrupted(): void {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      interrupted = true;
      process.exitCode = 130;
      // whatever runs in it ends with it
      void takeDown();
    });
  }
}

const [option, ...surplus] = process.argv.slice(2);
if (surplus.length > 0 || ![undefined, "--keep", "--remove"].includes(option)) {
  say("usage: npm run demo [-- --keep | --remove]");
  process.exitCode = 2;
} else if (option === "--remove") {
  await stopNode(NAME);
} else {
  takeDownWhenInterrupted();
  await demo(option === "--keep").catch((error: unknown) => {
    if (!interrupted) throw error;
  });
}
