type Check = (value: unknown) => boolean;

/** What the value of each key must be. */
export type Shape<T> = { readonly [Key in keyof T]-?: Check };

/** A string. */
export const isText: Check = (value) => typeof value === "string";
/** A finite number. */
export const isNumber: Check = (value) => Number.isFinite(value);
/** An object that is no list. */
export const isTable: Check = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** One of these values. */
export function exactly(...allowed: readonly unknown[]): Check {
  return (value) => allowed.includes(value);
}

/** A list of values that pass the check. */
export function listOf(check: Check): Check {
  return (value) => Array.isArray(value) && value.every(check);
}

/** An object whose values pass the check, whatever its keys. */
export function tableOf(check: Check): Check {
  return (value) => isTable(value) && Object.values(value as object).every(check);
}

/** A value that passes the check, or null, or none. */
export function orNothing(check: Check): Check {
  return (value) => value === undefined || value === null || check(value);
}

/**
 * Reads back what this program wrote: a JSON object of that shape, or
 * undefined for anything else. (What people write is zod's to check, which
 * explains what is wrong, and takes longer to load than a command to run.)
 */
export function readWritten<T>(text: string | undefined, shape: Shape<T>): T | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text ?? "");
  } catch {
    return undefined;
  }
  if (!isTable(value)) return undefined;
  const table = value as Record<string, unknown>;
  const fits = Object.entries<Check>(shape).every(([key, check]) => check(table[key]));
  return fits ? (value as T) : undefined;
}
