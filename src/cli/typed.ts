import { shellText } from "../host/command-failed.ts";

/** The command as it was typed: its name where it is installed, else the way to it. The launcher tells us. */
export const TYPED = process.env["OPDBUS_COMMAND"] ?? "op-dbus";

/** A result with its hints, and what mends, as they can be typed here. */
export function withTypedHints(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withTypedHints);
  if (typeof value !== "object" || value === null) return value;
  const typed = (key: string, inner: unknown) =>
    typeof inner === "string" && (key === "hint" || key === "mend") ? asTyped(inner) : withTypedHints(inner);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, typed(key, inner)]));
}

/** A hint with our own commands in it as they can be typed here: before the installation they are not on PATH. */
export function asTyped(hint: string): string {
  if (!TYPED.includes("/")) return hint;
  return hint.replaceAll(/(?<![\w/.-])(opdbus-pve|op-dbus)(?= [a-z])/g, () => shellText([TYPED]));
}
