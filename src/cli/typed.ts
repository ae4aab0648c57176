import { shellText } from "../host/command-failed.ts";

/** The command as it was typed: its name where it is installed, else the way to it. The launcher tells us. */
export const TYPED = process.env["OPDBUS_COMMAND"] ?? "op-dbus";

/** A hint with our own commands in it as they can be typed here: before the installation they are not on PATH. */
export function asTyped(hint: string): string {
  if (!TYPED.includes("/")) return hint;
  return hint.replaceAll(/(?<![\w/.-])(opdbus-pve|op-dbus)(?= [a-z])/g, () => shellText([TYPED]));
}
