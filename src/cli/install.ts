import { sizeBytes } from "../config/settings.ts";
import { loadSettings } from "../config/load-settings.ts";
import { EXIT, UserError } from "../host/errors.ts";
import type { Host } from "../host/host.ts";
import { type Choice, chooseSteps, findLacking } from "../install/choose-steps.ts";
import { installSteps } from "../install/install-steps.ts";
import { journalRecorder } from "../install/journal.ts";
import { applySteps, type Planned, planSteps, refuseBlocked, type StepOutcome } from "../install/run-steps.ts";
import { isSettled, sayFinding, type Step } from "../install/step.ts";
import { readMarker } from "../install/steps/marker.ts";
import { describeHost } from "../plugins/describe-host.ts";
import { RUNTIME, SETTINGS } from "../paths.ts";
import { findPool } from "../pool/find-pool.ts";
import type { PoolRequest } from "../pool/plan-pool.ts";
import { type CommonOptions, confirm, currentActor, runCommand, type Session } from "./session.ts";

interface InstallOptions extends CommonOptions {
  readonly dryRun?: boolean;
  readonly exitCode?: boolean;
  readonly yes?: boolean;
  readonly config?: string;
  readonly only?: string[];
  readonly skip?: string[];
  readonly poolSize?: string;
  readonly poolDevice?: string;
  readonly confirmFormat?: string;
}

/** `opdbus-pve install` */
export async function install(options: InstallOptions): Promise<void> {
  await runCommand(options, async (session) => {
    if (options.exitCode && !options.dryRun) {
      throw new UserError("--exit-code is for a look at what is to be done", {
        hint: "opdbus-pve install --dry-run --exit-code",
        exitCode: EXIT.usage,
      });
    }
    if ((await session.host.stat("/etc/NIXOS")) !== undefined) return guideNixos(session, options.dryRun ?? false);
    if (options.dryRun) return dryRun(session, await readChoice(session, options), options.exitCode ?? false);
    const release = await session.host.lock(
      `${RUNTIME}/install.lock`,
      `opdbus-pve install, process ${process.pid}, since ${new Date().toISOString()}`,
    );
    try {
      await run(session, options);
    } finally {
      await release();
    }
  });
}

async function run(session: Session, options: InstallOptions): Promise<void> {
  const { host, out } = session;
  const choice = await readChoice(session, options);
  const { steps } = choice;
  const { system, proxmox } = await describeHost(host);
  out.report({ kind: "say", text: `${system ?? "unknown system"}, ${proxmox ?? "no Proxmox VE"}` });
  if (proxmox !== null) {
    const text =
      "the part for Proxmox VE comes in a later version: its UI and backups do not know containers of this one";
    out.report({ kind: "warn", text });
  }
  const upgrade = await readMarker(host);
  if (upgrade)
    out.report({
      kind: "say",
      text: `This node was installed with version ${upgrade.version} on ${upgrade.installed_at}`,
    });
  const plan = await planSteps(steps, host);
  refuseBlocked(plan);
  const pending = plan.filter(({ finding }) => finding.state === "change");
  if (pending.length > 0) {
    if (!session.json) showPlan(session, pending, "report");
    await confirm(session, { question: "Go on?", yes: options.yes });
  }
  const outcomes = plan.every(({ finding }) => isSettled(finding))
    ? plan.map(unchanged)
    : await applySteps(steps, host, out.report, journalRecorder(host, currentActor(host)));
  // also what this run left out may be as it should be by now
  showOutcomes(session, outcomes, steps, await findLacking(choice.leftOut, host));
}

async function readChoice({ host, out }: Session, options: InstallOptions): Promise<Choice> {
  const settings = await loadSettings(host, options.config);
  const steps = installSteps(settings, await poolRequest(host, out, options, settings.pool));
  return chooseSteps(steps, host, options);
}

async function poolRequest(
  host: Host,
  out: Session["out"],
  options: InstallOptions,
  settings: { size?: string | undefined; device?: string | undefined },
): Promise<PoolRequest> {
  if (options.poolSize !== undefined && options.poolDevice !== undefined) {
    throw new UserError("A pool is in a file or on a device, not both", {
      hint: "--pool-size or --pool-device",
      exitCode: EXIT.usage,
    });
  }
  if (options.poolSize !== undefined && !/^[1-9]\d*[MGT]$/.test(options.poolSize)) {
    throw new UserError(`${options.poolSize} is no size`, {
      hint: "--pool-size 20G   # a number followed by M, G or T",
      exitCode: EXIT.usage,
    });
  }
  const chosen = options.poolSize !== undefined || options.poolDevice !== undefined;
  const size = options.poolSize ?? (chosen ? undefined : settings.size);
  const device = options.poolDevice ?? (chosen ? undefined : settings.device);
  const request: PoolRequest = {
    ...(size === undefined ? {} : { sizeBytes: sizeBytes(size) }),
    ...(device === undefined ? {} : { device }),
    ...(options.confirmFormat === undefined ? {} : { confirmFormat: options.confirmFormat }),
  };
  const pool = await findPool(host, request);
  if (pool.state === "ready" && pool.unmet !== undefined) out.report({ kind: "warn", text: pool.unmet });
  const canAsk = out.interactive && !options.dryRun;
  if (!canAsk || pool.state !== "blocked" || pool.confirm === undefined) return request;
  const typed = await out.ask(`${pool.reason}.\nType its name to go on: `);
  return { ...request, confirmFormat: typed };
}

async function dryRun(session: Session, { steps, leftOut }: Choice, exitCode: boolean): Promise<void> {
  const plan = await planSteps(steps, session.host);
  const lacking = await findLacking(leftOut, session.host);
  if (session.json) {
    session.out.json({
      schema: 1,
      steps: plan.map(({ step, finding }) => ({ id: step.id, title: step.title, ...finding, not_yet: step.notYet })),
      lacking: lacking.map(({ step }) => step.id),
    });
  } else {
    showPlan(session, plan, "print");
    if (lacking.length > 0) session.out.print(sayLacking(lacking));
  }
  refuseBlocked(plan);
  if (exitCode && !plan.every(({ finding }) => isSettled(finding))) process.exitCode = EXIT.pending;
}

function showPlan({ out }: Session, plan: readonly Planned[], where: "print" | "report"): void {
  const write = (text: string) => (where === "print" ? out.print(text) : out.report({ kind: "say", text }));
  for (const { step, finding } of plan) {
    const words = { ok: "already so", change: "", blocked: "blocked", waits: sayFinding(finding), later: "not yet" };
    const state = words[finding.state];
    write(`${step.title} (${step.id})${state === "" ? "" : `: ${state}`}`);
    if (finding.state === "change") for (const change of finding.changes) write(`  + ${change}`);
    if (finding.state === "blocked") write(`  ! ${finding.reason}`);
    for (const missing of step.notYet) write(`  - not yet: ${missing}`);
  }
}

function unchanged({ step, finding }: Planned): StepOutcome {
  return { id: step.id, outcome: finding.state === "later" ? "later" : "already", changes: [] };
}

function showOutcomes(
  { out, json }: Session,
  outcomes: readonly StepOutcome[],
  steps: readonly Step[],
  lacking: readonly Planned[],
): void {
  const changed = outcomes.some(({ outcome }) => outcome === "changed");
  if (json) return out.json({ schema: 1, changed, steps: outcomes, lacking: lacking.map(({ step }) => step.id) });
  const words = { changed: "changed", already: "already so", later: "not yet" };
  out.table(
    ["STEP", "", ""],
    outcomes.map(({ id, outcome }) => [id, words[outcome], steps.find((step) => step.id === id)?.title ?? ""]),
  );
  if (lacking.length > 0) out.print(sayLacking(lacking));
  else if (changed) out.print("This host is an operation-dbus node now.");
  else out.print("Nothing to do: everything is as it should be.");
}

function sayLacking(lacking: readonly Planned[]): string {
  const parts = lacking.map(({ step, finding }) => `  ${step.id}: ${sayFinding(finding)}`);
  return ["Left out, and still to be done before this host is a whole node:", ...parts].join("\n");
}

/** The specification's way on NixOS: mark it, show the declarative way, touch nothing else. */
async function guideNixos({ host, out, json }: Session, look: boolean): Promise<void> {
  if (!look) {
    await host.makeDirectory(SETTINGS, { mode: 0o755 });
    await host.writeText(`${SETTINGS}/deployment-type`, "nixos\n");
  }
  const configuration = `{
  imports = [ ./operation-dbus/nixos/modules/operation-dbus.nix ];

  services.operation-dbus = {
    enable = true;
    btrfs.enable = true;
  };
}`;
  if (json) return out.json({ schema: 1, deployment_type: "nixos", configuration });
  out.print(`This is NixOS, which is configured by declaration; nothing was installed.
Add to /etc/nixos/configuration.nix:

${configuration}

then run: sudo nixos-rebuild switch
(The module is not part of this version yet.)`);
}
