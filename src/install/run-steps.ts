import { EXIT, Interrupted, UserError } from "../host/errors.ts";
import type { Host, HostView } from "../host/host.ts";
import type { Report } from "../report/report.ts";
import type { Finding, Step } from "./step.ts";

/** A step and what its check found. */
export interface Planned {
  readonly step: Step;
  readonly finding: Finding;
}

/** What became of a step. */
export interface StepOutcome {
  readonly id: string;
  readonly outcome: "changed" | "already" | "later";
  readonly changes: readonly string[];
}

/** Writes the intent of a change before it is made, and its outcome after. */
export type Recorder = (
  operation: string,
  target: string,
  details: Record<string, unknown>,
  change: () => Promise<void>,
) => Promise<void>;

/** What would be done: every step's check, in order. Changes nothing. */
export async function planSteps(steps: readonly Step[], host: HostView): Promise<Planned[]> {
  const plan: Planned[] = [];
  for (const step of steps) plan.push({ step, finding: await checkStep(step, host) });
  return plan;
}

// what a check cannot get past is a finding like any other, and does not hide the steps behind it
async function checkStep(step: Step, host: HostView): Promise<Finding> {
  try {
    return await step.check(host);
  } catch (error) {
    if (!(error instanceof UserError) || error instanceof Interrupted) throw error;
    return { state: "blocked", reason: error.message, hint: error.hint ?? "opdbus-pve doctor" };
  }
}

/**
 * Refuses a plan in which something is missing, before anything was changed.
 * @throws {UserError} with exit code 3, naming all that is missing
 */
export function refuseBlocked(plan: readonly Planned[]): void {
  const blocked = plan.flatMap(({ step, finding }) => (finding.state === "blocked" ? [{ step, ...finding }] : []));
  const [first] = blocked;
  if (first === undefined) return;
  const reasons = blocked.map(({ step, reason }) => `  ${step.id}: ${reason}`).join("\n");
  throw new UserError(`Unable to install on this host; nothing was changed:\n${reasons}`, {
    hint: [...new Set(blocked.map(({ hint }) => hint))].join("\n"),
    exitCode: EXIT.unsupported,
  });
}

/**
 * Brings the machine to what the steps want: check, apply, check again, one
 * after the other in the order of the list.
 * @throws {UserError} when a step fails, is blocked by what an earlier one
 *   left, or does not find its own work done
 */
export async function applySteps(
  steps: readonly Step[],
  host: Host,
  report: Report,
  record: Recorder,
): Promise<StepOutcome[]> {
  const outcomes: StepOutcome[] = [];
  for (const [index, step] of steps.entries()) {
    const finding = await checkStep(step, host);
    if (finding.state === "blocked" || finding.state === "waits") throw stuck(step, finding);
    if (finding.state !== "change") {
      outcomes.push({ id: step.id, outcome: finding.state === "later" ? "later" : "already", changes: [] });
      continue;
    }
    report({ kind: "say", text: `[${index + 1}/${steps.length}] ${step.title}` });
    await record("install_step", step.id, { changes: finding.changes }, async () => {
      await step.apply(host, report);
      const after = await checkStep(step, host);
      if (after.state === "blocked" || after.state === "waits") throw stuck(step, after);
      if (after.state === "change") {
        throw new UserError(`Step ${step.id} ran, but this is still to be done: ${after.changes.join("; ")}`, {
          hint: "opdbus-pve doctor",
        });
      }
    });
    outcomes.push({ id: step.id, outcome: "changed", changes: finding.changes });
  }
  return outcomes;
}

function stuck(step: Step, { reason, hint }: { reason: string; hint: string }): UserError {
  return new UserError(`Unable to go on with step ${step.id}: ${reason}`, { hint, exitCode: EXIT.unsupported });
}
