// `npm run bench`: how fast the main jobs are, held against what the same machine does without us.
// `--json FILE` also writes the figures as one JSON document; `--json -` prints only that.
import { mkdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { cpus, loadavg, release } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { build } from "esbuild";
import { breakDown, judge, type Result, type Share } from "./bench/results.ts";
import type { Samples } from "./bench/in-node.ts";
import type { Twin } from "./bench/templates.ts";
import { type LabNode, missingForLab } from "./node.ts";
import { buildDeb } from "../packaging/build-deb.ts";
import { startInstalledNode } from "./program.ts";
import { humanBytes } from "../src/report/bytes.ts";
import { layOut } from "../src/report/table.ts";

const IN_NODE = "/root/bench/lib";
const INSTALLED = "/usr/lib/opdbus-pve";

interface Report {
  readonly schema: 1;
  readonly at: string;
  readonly machine: {
    readonly cpus: number;
    readonly model: string;
    readonly kernel: string;
    readonly node: string;
    readonly lxd: string;
  };
  /** Of 1, 5 and 15 minutes. */
  readonly load: { readonly before: readonly number[]; readonly after: readonly number[] };
  readonly results: readonly Result[];
  readonly breakdown: readonly Share[];
  readonly twin: Twin;
  readonly methods: readonly string[];
}

const METHODS = [
  "All of it ran in one disposable node, on its pool (BTRFS in a file); what is compared was done in turns.",
  "Figures are medians of wall time in milliseconds; the first turn of each is not counted. Page cache and compile cache are warm.",
  "create-in-batch: time between two lines of `op-dbus container create NAME…`, against the same snapshot spawned from one Node.js process.",
  "create-cold: from starting op-dbus to its end. Unpacking goes from tmpfs into a new subvolume.",
  "LXD is Debian's, has the same template as an image and its pool in the same BTRFS; its daemon runs and is warm. `lxc copy` copies a container that was never started.",
  "Booting: first boots of fresh containers; --start and `lxc launch` come back when the guest's init runs, --wait when its systemd has started all it wants to.",
  "template shift: each time to other ids, against a copy that shares its data as well. template export ends with a sync and a SHA-256, which tar and zstd do not make.",
  "template build: both from the same mirrors over the same network; ours adds the definition's files, a digest of the tree, and screens it.",
  "What writes much is synced, with a second of rest, after its clock was stopped.",
  "At scale: batch is the time between two lines of one command that makes 25.",
  "Where the time goes: the product's own functions, bundled with a clock around each call of its host; medians of parts, which need not add up.",
];

async function bench(): Promise<Report> {
  const before = loadavg();
  say("building the package");
  const packageBytes = (
    await stat(await buildDeb({ sourceDateEpoch: 1_000_000_000, compression: "xz", folder: "lab" }))
  ).size;
  say("starting a node with the program installed (the first time that takes two minutes)");
  const node = await startInstalledNode("bench");
  try {
    await bringScripts(node);
    say("measuring; that takes a quarter of an hour");
    const samplesFile = "/root/bench/samples.json";
    const script = `${INSTALLED}/bin/node ${IN_NODE}/in-node.js >${samplesFile}`;
    if ((await node.show(["sh", "-c", script])) !== 0) throw new Error("Unable to measure");
    const samples = JSON.parse(await readFile(join(node.root, samplesFile), "utf8")) as Samples;
    const [processor] = cpus();
    return {
      schema: 1,
      at: new Date().toISOString(),
      machine: {
        cpus: cpus().length,
        model: processor?.model ?? "",
        kernel: release(),
        node: process.version,
        lxd: samples.lxd,
      },
      load: { before, after: loadavg() },
      results: judge(samples, packageBytes),
      breakdown: breakDown(samples),
      twin: samples.twin,
      methods: METHODS,
    };
  } finally {
    await node.stop();
  }
}

/** Bundles what runs in the node as the product is bundled, and lends it what the product has beside its bundle. */
async function bringScripts(node: LabNode): Promise<void> {
  const folder = join(node.root, IN_NODE);
  await build({
    entryPoints: [join(import.meta.dirname, "bench/in-node.ts"), join(import.meta.dirname, "bench/parts.ts")],
    outdir: folder,
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node26",
    banner: {
      js: 'import { createRequire as opdbusRequire } from "node:module"; const require = opdbusRequire(import.meta.url);',
    },
    logLevel: "warning",
  });
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "package.json"), '{ "type": "module" }\n');
  for (const name of ["native", "templates"]) await symlink(`${INSTALLED}/${name}`, join(folder, "..", name));
}

function table({ results, breakdown, twin, load }: Report): string {
  const rows = results.map((result) => [
    result.measured.what,
    figure(result.measured.median, result),
    result.baseline === null ? "" : `${result.baseline.what}: ${figure(result.baseline.median, result)}`,
    result.ratio === null ? "" : result.ratio.toFixed(2),
    goalText(result),
    result.met ? "met" : `missed by ${result.missedByPercent} %`,
  ]);
  const shares = breakdown.map((share) => [share.what, ms(share.ms)]);
  return [
    ...layOut([["WHAT", "TIME", "AGAINST", "RATIO", "GOAL", ""], ...rows]),
    "",
    "Where the time of one more container in a batch goes:",
    ...layOut(shares).map((line) => `  ${line}`),
    "",
    `A twin with shifted ids takes ${humanBytes(twin.exclusive)} of data and ${humanBytes(twin.metadata)} of metadata of its own.`,
    "",
    ...METHODS,
    `Load of this machine: ${loadText(load.before)} before, ${loadText(load.after)} after.`,
  ].join("\n");
}

function goalText({ goal }: Result): string {
  if ("least" in goal) return goal.least === 1 ? "faster" : `${goal.least} times faster`;
  if (goal.of === "ratio") return `at most ${goal.most}`;
  return `at most ${goal.of === "ms" ? `${goal.most} ms` : humanBytes(goal.most)}`;
}

function figure(value: number, { goal }: Result): string {
  return goal.of === "bytes" ? humanBytes(value) : ms(value);
}

function ms(value: number): string {
  return `${value < 10 ? value.toFixed(2) : value.toFixed(value < 100 ? 1 : 0)} ms`;
}

function loadText(load: readonly number[]): string {
  return load.map((value) => value.toFixed(2)).join(" ");
}

function say(text: string): void {
  process.stderr.write(`bench: ${text}\n`);
}

const { values } = parseArgs({ options: { json: { type: "string" } } });
const missing = await missingForLab();
if (missing.length > 0) {
  for (const sentence of missing) say(sentence);
  process.exitCode = 3;
} else {
  const report = await bench();
  const json = `${JSON.stringify(report, null, 2)}\n`;
  process.stdout.write(values.json === "-" ? json : `${table(report)}\n`);
  if (values.json !== undefined && values.json !== "-") await writeFile(values.json, json);
}
