import { settingsSchema } from "../config/settings.ts";
import { listContainers } from "../containers/record.ts";
import { runningContainers } from "../containers/running.ts";
import { EXIT, UserError } from "../host/errors.ts";
import { installSteps } from "../install/install-steps.ts";
import {
  applyRemovals,
  type PlannedRemoval,
  planRemovals,
  refuseBlockedRemoval,
  type RemovalOutcome,
  removalParts,
  removalRecorder,
  revealPool,
} from "../install/removal.ts";
import type { Degree } from "../install/step.ts";
import { POOL, RUNTIME, SETTINGS } from "../paths.ts";
import { type CommonOptions, confirm, currentActor, runCommand, type Session } from "./session.ts";

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
const STEPS = installSteps(settingsSchema.parse({}), {});

async function show({ host, out, json }: Session, degree: Degree): Promise<void> {
  const parts = removalParts(STEPS, await listContainers(host));
  const plan = await planRemovals(parts, host, degree);
  if (json) out.json({ schema: 1, degree, parts: plan.map(({ id, finding }) => ({ id, ...finding })) });
  else for (const line of sayPlan(plan, degree)) out.print(line);
  refuseBlockedRemoval(plan);
}

function sayPlan(plan: readonly PlannedRemoval[], degree: Degree): string[] {
  const lines = plan.flatMap(({ id, finding }) => {
    if (finding.state === "change") return finding.changes.map((change) => `  - ${change}`);
    return finding.state === "blocked" ? [`  ! ${id}: ${finding.reason}`] : [];
  });
  return [...lines, ...sayKept(plan, degree)];
}

function sayKept(plan: readonly PlannedRemoval[], degree: Degree): string[] {
  if (degree === "everything") {
    const stays = plan.flatMap(({ finding }) => (finding.state === "blocked" ? [] : (finding.stays ?? [])));
    return stays.map((what) => `Kept: ${what}.`);
  }
  const settings = degree === "program" ? `${SETTINGS}, ` : "";
  return [`Kept: ${settings}${POOL} with all containers and the record, which LXC goes on running without us.`];
}

async function run(session: Session, degree: Degree, options: UninstallOptions): Promise<void> {
  const { host, out, json } = session;
  const say = (text: string) => out.report({ kind: "say", text });
  if (degree === "everything" && (await revealPool(host))) say(`${POOL} was mounted, to see what is in it`);
  const names = await listContainers(host);
  const parts = removalParts(STEPS, names);
  const plan = await planRemovals(parts, host, degree);
  if (!json) for (const line of sayPlan(plan, degree)) say(line);
  refuseBlockedRemoval(plan);
  if (plan.every(({ finding }) => finding.state === "ok")) return showOutcomes(session, degree, []);
  if (degree === "everything") await confirmEverything(session, names, options);
  else await confirm(session, { question: "Go on?", yes: options.yes });
  const record = removalRecorder(host, currentActor(host), degree);
  const outcomes = await applyRemovals(parts, host, degree, out.report, record);
  showOutcomes(session, degree, outcomes);
}

/** @throws {UserError} unless the host's name was given, and for the containers there are a word of their own */
async function confirmEverything(
  { host, out }: Session,
  names: readonly string[],
  options: UninstallOptions,
): Promise<void> {
  if (names.length > 0 && !options.destroyContainers) {
    const running = [...(await runningContainers(host))].filter((name) => names.includes(name));
    const count = names.length === 1 ? "is a container" : `are ${names.length} containers`;
    const what = `There ${count} here (${running.length} running): ${names.join(", ")}`;
    if (!out.interactive) {
      throw new UserError(`${what}; nothing was removed`, {
        hint: "add --destroy-containers to remove them and their data for good",
        exitCode: EXIT.usage,
      });
    }
    const answer = await out.ask(`${what}.\nDestroy them and their data for good? [y/N] `);
    if (!/^y(es)?$/i.test(answer)) throw new UserError("Stopped before anything was removed");
  }
  if (options.confirmHost === undefined && !out.interactive) {
    throw new UserError("Removing everything is confirmed by this host's name; nothing was removed", {
      hint: `add --confirm-host ${host.name}`,
      exitCode: EXIT.usage,
    });
  }
  const typed = options.confirmHost ?? (await out.ask("Type the name of this host to remove everything: "));
  if (typed !== host.name) {
    throw new UserError(`This host is ${host.name}, not ${JSON.stringify(typed)}; nothing was removed`, {
      exitCode: EXIT.usage,
    });
  }
}

function showOutcomes({ out, json }: Session, degree: Degree, outcomes: readonly RemovalOutcome[]): void {
  const left = outcomes.filter(({ outcome }) => outcome === "left");
  if (left.length > 0) process.exitCode = EXIT.failed;
  if (json) return out.json({ schema: 1, degree, parts: outcomes });
  if (left.length === 0) return out.print(sayGone(degree, outcomes));
  out.print("This could not be removed:");
  for (const { id, reason, hint } of left) {
    out.print(`  ${id}: ${reason}`);
    for (const line of hint?.split("\n") ?? []) out.print(`    ${line}`);
  }
}

function sayGone(degree: Degree, outcomes: readonly RemovalOutcome[]): string {
  if (outcomes.every(({ outcome }) => outcome === "already")) return "Nothing to remove: it is gone already.";
  if (degree === "program") return "The program is gone.";
  if (degree === "settings") return "The program and its settings are gone.";
  const stays = outcomes.flatMap(({ stays: each }) => each ?? []).map((what) => `  ${what}`);
  return ["All of it is gone, but for:", ...stays].join("\n");
}
