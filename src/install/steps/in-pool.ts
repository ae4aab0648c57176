import { findPoolAway } from "../../pool/find-pool.ts";
import type { Step } from "../step.ts";

/**
 * A step whose work lies in the pool. What a pool holds that is not mounted
 * cannot be seen: its files are neither there nor missing.
 */
export function inPool(step: Step): Step {
  return {
    ...step,
    async check(host) {
      const away = await findPoolAway(host);
      return away === undefined ? step.check(host) : { state: "waits", ...away };
    },
  };
}
