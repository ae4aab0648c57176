import { settingsSchema } from "../config/settings.ts";
import { listContainers } from "../containers/record.ts";
import { runningContainers } from "../containers/running.ts";
import { EXIT, UserError } from "../host/errors.ts";
import { installSteps } from "../install/install-steps.ts";
import { journalRecorder } from "../install/journal.ts";
import { applyRemovals, planRemovals, type RemovalOutcome, removalParts, revealPool } from "../install/removal.ts";
import type { Recorder } from "../install/run-steps.ts";
import { type Degree, type Finding, sayFinding } from "../install/step.ts";
import { POOL, RUNTIME, SETTINGS } from "../paths.ts";
import { type CommonOptions, confirm, currentActor, requireRoot, runCommand, type Session } from "./session.ts";

interface UninstallOptions extends CommonOptions {
  readonly settings?: boolean;
  readonly everything?: boolean;
  readonly destroyContainers?: boolean;
  readonly confirmHost?: string;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

/** `opdbus-pve uninstall` */
export async function uninstall(options: UninstallOptions): Promise<void> {
  await runCommand(options, async (session) => {
    requireRoot();
    const degree = chooseDegree(options);
    if (options.dryRun) return show(session, degree);
    const release = await session.host.lock(
      `${RUNTIME}/install.lock`,
      `opdbus-pve uninstall, process ${process.pid}, since ${new Date().toISOString()}`,
    );
    try {
      await run(session, degree, options);
    } finally {
      await release();
    }
  });
}

function chooseDegree({ settings, everything, confirmHost, destroyContainers }: UninstallOptions): Degree {
  if (settings && everything) {
    throw new UserError("--everything takes the settings, too", { hint: "give one of them", exitCode: EXIT.usage });
  }
  if (!everything && (confirmHost !== undefined || destroyContainers)) {
    throw new UserError("--confirm-host and --destroy-containers are for the removal of everything", {
      hint: "opdbus-pve uninstall --everything --dry-run   # shows what that is",
      exitCode: EXIT.usage,
    });
  }
  return everything ? "everything" : settings ? "settings" : "program";
}

// what is removed does not depend on the settings, which may be broken
const PARTS = removalParts(installSteps(settingsSchema.parse({}), {}));

async function show({ host, out, json }: Session, degree: Degree): Promise<void> {
  const plan = await planRemovals(PARTS, host, degree);
  if (json) return out.json({ schema: 1, degree, parts: plan.map(({ id, finding }) => ({ id, ...finding })) });
  for (const line of sayPlan(plan)) out.print(line);
  out.print(sayKept(degree));
}

function sayPlan(plan: readonly { readonly id: string; readonly finding: Finding }[]): string[] {
  return plan.flatMap(({ id, finding }) => {
    if (finding.state === "change") return finding.changes.map((change) => `  - ${change}`);
    return finding.state === "blocked" ? [`  ! ${id}: ${sayFinding(finding)}`] : [];
  });
}

function sayKept(degree: Degree): string {
  if (degree === "everything") return "Nothing is kept.";
  const settings = degree === "program" ? `${SETTINGS}, ` : "";
  return `Kept: ${settings}${POOL} with all containers and the record, which LXC goes on running without us.`;
}

async function run(session: Session, degree: Degree, options: UninstallOptions): Promise<void> {
  const { host, out, json } = session;
  if (degree === "everything") await revealPool(host);
  const plan = await planRemovals(PARTS, host, degree);
  const say = (text: string) => out.report({ kind: "say", text });
  if (!json) for (const line of [...sayPlan(plan), sayKept(degree)]) say(line);
  if (degree === "everything") await confirmEverything(session, options);
  else if (plan.some(({ finding }) => finding.state === "change")) {
    await confirm(session, { question: "Go on?", yes: options.yes });
  }
  // the record goes with everything
  const record: Recorder =
    degree === "everything"
      ? (_operation, _target, _details, change) => change()
      : journalRecorder(host, currentActor(host));
  const outcomes = await applyRemovals(PARTS, host, degree, out.report, record);
  showOutcomes(session, degree, outcomes);
}

/** @throws {UserError} unless the host's name was given, and for the containers there are a word of their own */
async function confirmEverything({ host, out }: Session, options: UninstallOptions): Promise<void> {
  const names = await listContainers(host);
  if (names.length > 0 && !options.destroyContainers) {
    const running = [...(await runningContainers(host))].filter((name) => names.includes(name));
    const what = `There are ${names.length} containers here, ${running.length} of them running: ${names.join(", ")}`;
    if (!out.interactive) {
      throw new UserError(`${what}; nothing was changed`, {
        hint: "add --destroy-containers to remove them and their data for good",
        exitCode: EXIT.usage,
      });
    }
    const answer = await out.ask(`${what}.\nDestroy them and their data for good? [y/N] `);
    if (!/^y(es)?$/i.test(answer)) throw new UserError("Stopped before anything was changed");
  }
  if (options.confirmHost === undefined && !out.interactive) {
    throw new UserError("Removing everything is confirmed by this host's name; nothing was changed", {
      hint: `add --confirm-host ${host.name}`,
      exitCode: EXIT.usage,
    });
  }
  const typed = options.confirmHost ?? (await out.ask("Type the name of this host to remove everything: "));
  if (typed !== host.name) {
    throw new UserError(`This host is ${host.name}, not ${JSON.stringify(typed)}; nothing was changed`, {
      exitCode: EXIT.usage,
    });
  }
}

function showOutcomes({ out, json }: Session, degree: Degree, outcomes: readonly RemovalOutcome[]): void {
  const left = outcomes.filter(({ outcome }) => outcome === "left");
  if (left.length > 0) process.exitCode = EXIT.failed;
  if (json) return out.json({ schema: 1, degree, parts: outcomes });
  if (left.length === 0) {
    return out.print(
      degree === "everything"
        ? "All of it is gone."
        : `The ${degree === "program" ? "program is" : "program and its settings are"} gone.`,
    );
  }
  out.print("This could not be removed:");
  for (const { id, reason, hint } of left) {
    out.print(`  ${id}: ${reason}`);
    out.print(`    ${hint}`);
  }
}
