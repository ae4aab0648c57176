type Check = (value: unknown) => boolean;

/** What the value of each key must be. */
export type Shape<T> = { readonly [Key in keyof T]-?: Check };

export const isText: Check = (value) => typeof value === "string";
export const isNumber: Check = (value) => Number.isFinite(value);
export const isTable: Check = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
export const exactly =
  (...allowed: readonly unknown[]): Check =>
  (value) =>
    allowed.includes(value);
export const listOf =
  (check: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(check);
export const tableOf =
  (check: Check): Check =>
  (value) =>
    isTable(value) && Object.values(value as object).every(check);
export const orNothing =
  (check: Check): Check =>
  (value) =>
    value === undefined || value === null || check(value);

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
