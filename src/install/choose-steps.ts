import { EXIT, UserError } from "../host/errors.ts";
import type { HostView } from "../host/host.ts";
import { type Planned, planSteps } from "./run-steps.ts";
import { isSettled, type Step } from "./step.ts";
import { MARKER_STEP } from "./steps/marker.ts";

/** What the admin asked for, by the ids of steps. */
export interface StepFilter {
  readonly only?: readonly string[];
  readonly skip?: readonly string[];
}

/** The part of the installation that a run is to do. */
export interface Choice {
  readonly steps: readonly Step[];
  /** Left out, and not as they should be. While there are such, the host is not marked as installed. */
  readonly lacking: readonly Planned[];
}

/**
 * Chooses the steps that were asked for.
 * @throws {UserError} with exit code 2 for a step that does not exist, or when
 *   none is left; with 3 when the host alone cannot be marked as installed
 */
export async function chooseSteps(all: readonly Step[], host: HostView, filter: StepFilter): Promise<Choice> {
  const { only, skip = [] } = filter;
  const ids = all.map(({ id }) => id);
  const unknown = [...(only ?? []), ...skip].filter((id) => !ids.includes(id));
  if (unknown.length > 0) {
    throw new UserError(`There is no step ${unknown.join(", ")}`, {
      hint: `the steps are ${ids.join(", ")}`,
      exitCode: EXIT.usage,
    });
  }
  const chosen = all.filter(({ id }) => (only?.includes(id) ?? true) && !skip.includes(id));
  if (chosen.length === 0) throw new UserError("No step is left of --only and --skip", { exitCode: EXIT.usage });
  const others = all.filter((step) => !chosen.includes(step) && step.id !== MARKER_STEP);
  const lacking = (await planSteps(others, host)).filter(({ finding }) => !isSettled(finding));
  if (lacking.length === 0) return { steps: chosen, lacking };
  const steps = chosen.filter(({ id }) => id !== MARKER_STEP);
  if (steps.length === 0) {
    const names = lacking.map(({ step }) => step.id).join(", ");
    throw new UserError(`This host is no installed node yet: these steps are not done: ${names}`, {
      hint: "opdbus-pve install",
      exitCode: EXIT.unsupported,
    });
  }
  return { steps, lacking };
}
