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
  readonly leftOut: readonly Step[];
}

/**
 * Chooses the steps that were asked for. The marker is left out as well when
 * one that is left out is not as it should be: only a whole host is marked.
 * @throws {UserError} with exit code 2 for a step that does not exist, or when
 *   none is left; with 3 when only the marker was asked for, and others lack
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
  const isAsked = ({ id }: Step) => (only?.includes(id) ?? true) && !skip.includes(id);
  const asked = all.filter(isAsked);
  if (asked.length === 0) throw new UserError("No step is left of --only and --skip", { exitCode: EXIT.usage });
  const lacking = await findLacking(
    all.filter((step) => !isAsked(step) && step.id !== MARKER_STEP),
    host,
  );
  const steps = lacking.length === 0 ? asked : asked.filter(({ id }) => id !== MARKER_STEP);
  if (steps.length === 0) {
    const names = lacking.map(({ step }) => step.id).join(", ");
    throw new UserError(`This host is no installed node yet: these steps are not done: ${names}`, {
      hint: "opdbus-pve install",
      exitCode: EXIT.unsupported,
    });
  }
  return { steps, leftOut: all.filter((step) => !steps.includes(step)) };
}

/** Those of some steps that are not as they should be, and what they found. */
export async function findLacking(steps: readonly Step[], host: HostView): Promise<Planned[]> {
  return (await planSteps(steps, host)).filter(({ finding }) => !isSettled(finding));
}
