import { EXIT, UserError } from "../host/errors.ts";
import type { Host, HostView } from "../host/host.ts";
import type { Report } from "../report/report.ts";
import { type Finding, lookAt, refuseFindings, type Step } from "./step.ts";

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
  for (const step of steps) plan.push({ step, finding: await lookAt(() => step.check(host)) });
  return plan;
}

/**
 * Refuses a plan in which something is missing, before anything was changed.
 * @throws {UserError} with exit code 3, naming all that is missing
 */
export function refuseBlocked(plan: readonly Planned[]): void {
  const findings = plan.map(({ step, finding }) => ({ id: step.id, finding }));
  refuseFindings("Unable to install on this host; nothing was changed", findings);
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
    const finding = await lookAt(() => step.check(host));
    if (finding.state === "blocked" || finding.state === "waits") throw stuck(step, finding);
    if (finding.state !== "change") {
      outcomes.push({ id: step.id, outcome: finding.state === "later" ? "later" : "already", changes: [] });
      continue;
    }
    report({ kind: "say", text: `[${index + 1}/${steps.length}] ${step.title}` });
    await record("install_step", step.id, { changes: finding.changes }, async () => {
      await step.apply(host, report);
      const after = await lookAt(() => step.check(host));
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
