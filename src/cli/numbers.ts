import { EXIT, UserError } from "../host/errors.ts";

/**
 * Reads a whole number from the command line.
 * @throws {UserError} with exit code 2 when it is none, or outside the limits
 */
export function wholeNumber(option: string, text: string, least = 1, most = Number.MAX_SAFE_INTEGER): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw new UserError(`${option} is ${JSON.stringify(text)}`, {
    hint: `${option} takes a whole number ${most === Number.MAX_SAFE_INTEGER ? `from ${least}` : `from ${least} to ${most}`}`,
    exitCode: EXIT.usage,
  });
}
