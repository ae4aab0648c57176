import type { Finding, Step } from "../../src/install/step.ts";

/** A step whose checks answer one after the other; the last answer stays. */
export function stepOf(id: string, answers: Finding[], log: string[] = [], apply: () => void = () => {}): Step {
  const left = [...answers];
  return {
    id,
    title: `Title of ${id}`,
    notYet: [],
    check: async () => {
      log.push(`check ${id}`);
      return (left.length > 1 ? left.shift() : left[0]) ?? { state: "ok" };
    },
    apply: async () => {
      log.push(`apply ${id}`);
      apply();
    },
  };
}
