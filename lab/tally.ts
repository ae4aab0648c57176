import { isNativeError } from "node:util/types";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { missingForLab, missingForVm } from "./machine.ts";
import { checkout } from "./paths.ts";

/** How many tests ended how. */
export interface Tally {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

type Project = "unit" | "e2e" | "vm";

const staticChecks: readonly (readonly [command: string, ...argv: string[]])[] = [
  ["tsc", "--noEmit"],
  ["oxlint", "--type-aware"],
  ["oxfmt", "--check"],
  ["knip"],
];

/** Runs types, lint, format and dead code, all of them whatever they find. Each counts as a test. */
export async function runStaticChecks(): Promise<Tally> {
  let failed = 0;
  for (const [command, ...argv] of staticChecks) {
    announce([command, ...argv].join(" "));
    if ((await tool(command, argv)) !== 0) failed += 1;
  }
  return { passed: staticChecks.length - failed, failed, skipped: 0 };
}

/** Runs the tests of these projects whose files match one of `filters`, or all; what cannot run here is counted as skipped. */
export async function runTests(wanted: readonly Project[], filters: readonly string[]): Promise<Tally> {
  const skipped = await findSkipped(wanted);
  const projects = wanted.filter((project) => !skipped.has(project));
  announce(`vitest: ${projects.join(", ")}`);
  const report = join(checkout, ".cache/vitest.json");
  await rm(report, { force: true });
  const exitCode = await tool("vitest", [
    "run",
    "--passWithNoTests",
    ...projects.map((project) => `--project=${project}`),
    "--reporter=default",
    "--reporter=json",
    `--outputFile.json=${report}`,
    ...filters,
  ]);
  let tally = await readReport(report, exitCode);
  for (const [project, missing] of skipped) {
    announce(`vitest: ${project} is skipped, because this machine cannot run it`);
    for (const sentence of missing) print(sentence);
    const tests = await listTests(project, filters);
    print(`${tests.length} tests in ${new Set(tests.map(({ file }) => file)).size} files are skipped.`);
    tally = addTallies(tally, { passed: 0, failed: 0, skipped: tests.length });
  }
  return refuseNothing(tally, filters);
}

/** The projects that cannot run here, each with what is missing. */
async function findSkipped(wanted: readonly Project[]): Promise<Map<Project, string[]>> {
  if (wanted.every((project) => project === "unit")) return new Map();
  const forNodes = await missingForLab();
  const missing: readonly (readonly [Project, string[]])[] = [
    ["e2e", forNodes],
    ["vm", [...forNodes, ...missingForVm()]],
  ];
  return new Map(missing.filter(([project, sentences]) => wanted.includes(project) && sentences.length > 0));
}

/** A filter that matches nothing is a mistake, and not a success. */
function refuseNothing(tally: Tally, filters: readonly string[]): Tally {
  if (tally.passed + tally.failed + tally.skipped > 0) return tally;
  print(`No test file matches ${filters.join(" or ")}.`);
  return { ...tally, failed: 1 };
}

/** Prints the tally as a last line that stands alone, and makes failures this process's exit code. */
export function conclude(tally: Tally): void {
  print(`\n${tally.passed} passed, ${tally.failed} failed, ${tally.skipped} skipped`);
  process.exitCode = tally.failed > 0 ? 1 : 0;
}

/** Both together. */
export function addTallies(left: Tally, right: Tally): Tally {
  return {
    passed: left.passed + right.passed,
    failed: left.failed + right.failed,
    skipped: left.skipped + right.skipped,
  };
}

/** The part of vitest's JSON report that is counted here. */
interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly testResults: readonly {
    readonly status: string;
    readonly assertionResults: readonly { status: string }[];
  }[];
}

async function readReport(file: string, exitCode: number): Promise<Tally> {
  const report = await readFile(file, "utf8").then((text) => JSON.parse(text) as Report, toError);
  if (isNativeError(report)) return { passed: 0, failed: 1, skipped: 0 };
  // A file that could not be loaded, or whose hook failed, is red without a red test.
  const brokenFiles = report.testResults.filter(
    ({ status, assertionResults }) => status === "failed" && !assertionResults.some((test) => test.status === "failed"),
  );
  const failed = report.numFailedTests + brokenFiles.length;
  return {
    passed: report.numPassedTests,
    // An error outside of all tests shows only in the exit code.
    failed: failed === 0 && exitCode !== 0 ? 1 : failed,
    skipped: report.numPendingTests + report.numTodoTests,
  };
}

async function listTests(project: Project, filters: readonly string[]): Promise<{ name: string; file: string }[]> {
  const { stdout } = await execa(
    "vitest",
    ["list", "--json", "--no-static-parse", `--project=${project}`, ...filters],
    {
      ...inCheckout,
      stdin: "ignore",
      reject: false,
    },
  );
  return JSON.parse(stdout.slice(stdout.indexOf("["))) as { name: string; file: string }[];
}

const inCheckout = { cwd: checkout, preferLocal: true, localDir: checkout } as const;

async function tool(command: string, argv: readonly string[]): Promise<number> {
  const result = await execa(command, argv, {
    ...inCheckout,
    stdin: "ignore",
    stdout: "inherit",
    stderr: "inherit",
    reject: false,
  });
  if (result.failed && result.exitCode === undefined) print(String(result.shortMessage));
  return result.exitCode ?? 1;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function announce(title: string): void {
  print(`\n── ${title}`);
}

function toError(error: unknown): Error {
  return isNativeError(error) ? error : new Error(String(error));
}
