import { LATER, type Step } from "../step.ts";

/** A step of the specification that this version lists and does not take. */
export function laterStep(id: string, title: string, notYet: readonly string[]): Step {
  return {
    id,
    title,
    notYet,
    check: async () => LATER,
    apply: async () => {
      throw new Error(`step ${id} has nothing to apply`);
    },
  };
}
