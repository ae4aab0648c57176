import type { Argv } from "../host/host.ts";

/** The command that runs a command inside a container, as its root, with none of our environment. */
export function attachArgv(name: string, command: readonly string[]): Argv {
  return [
    "lxc-attach",
    "--name",
    name,
    "--clear-env",
    "--set-var",
    `TERM=${process.env["TERM"] ?? "linux"}`,
    "--set-var",
    "HOME=/root",
    "--",
    ...command,
  ];
}
