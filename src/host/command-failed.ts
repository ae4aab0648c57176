import type { Argv, CommandResult } from "./host.ts";
import { UserError } from "./errors.ts";

/** A command that did not exit with 0. The whole output stays with it; people see its last line. */
export class CommandFailed extends UserError {
  readonly argv: Argv;
  readonly result: CommandResult;

  constructor(argv: Argv, result: CommandResult) {
    const said = lastLine(result.stderr) ?? lastLine(result.stdout) ?? "it said nothing";
    // a script in an argument explains nothing to who reads the message
    const shown = argv.map((word) => (word.includes("\n") ? "…" : word));
    super(`\`${shellText(shown)}\` exited with ${result.exitCode}: ${said}`);
    this.name = "CommandFailed";
    this.argv = argv;
    this.result = result;
  }
}

/** A command as one would type it, for messages. */
export function shellText(argv: readonly string[]): string {
  return argv.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`)).join(" ");
}

/** What tar says last, after the reason. */
const AFTER_THE_REASON =
  /: (Exiting with failure status due to previous errors|Error is not recoverable: exiting now)$/;

// coreutils and mmdebstrap put the reason last
function lastLine(text: string): string | undefined {
  const lines = text.split("\n").map((line) => line.trim());
  const said = lines.filter((line) => line !== "");
  return said.findLast((line) => !AFTER_THE_REASON.test(line)) ?? said.at(-1);
}
