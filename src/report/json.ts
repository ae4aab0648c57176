/**
 * A value as the JSON that operation-dbus' formats use: keys in snake_case,
 * two blanks of indentation. Keys that are names (units, packages) stay as they are.
 */
export function jsonText(value: unknown): string {
  const text = JSON.stringify(withSnakeKeys(value), null, 2);
  // JSON allows them as they are, and terminals obey some of them
  return text.replaceAll(/[\u007F-\u009F]/g, (letter) => `\\u00${letter.codePointAt(0)?.toString(16)}`);
}

function withSnakeKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withSnakeKeys);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [snakeKey(key), withSnakeKeys(inner)]));
}

function snakeKey(key: string): string {
  const isOurs = /^[a-z]+([A-Z][a-z0-9]*)+$/.test(key);
  return isOurs ? key.replace("MiB", "Mib").replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`) : key;
}
