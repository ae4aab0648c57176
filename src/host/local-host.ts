import { hostname } from "node:os";
import { CommandFailed, shellText } from "./command-failed.ts";
import type { Host } from "./host.ts";
import { localFiles } from "./local-files.ts";
import { holdLock } from "./lock.ts";
import { isReadingVerb } from "./reading-verbs.ts";
import { obtainFile } from "./obtain.ts";
import { execute, executePipe, executeStream } from "./run-command.ts";

/**
 * This machine.
 * @param signal aborts running commands and refuses new ones; its reason is
 *   the name of the signal that we got
 */
export function localHost(signal: AbortSignal): Host {
  return {
    ...localFiles,
    name: hostname(),
    async probe(argv, options) {
      if (!isReadingVerb(argv)) throw new Error(`not a reading verb: ${shellText(argv)}`);
      return execute(signal, argv, options);
    },
    async run(argv, options) {
      const result = await execute(signal, argv, options);
      if (result.exitCode !== 0) throw new CommandFailed(argv, result);
      return result;
    },
    pipe: (from, to, options) => executePipe(signal, from, to, options),
    stream: (argv, take) => executeStream(signal, argv, take),
    obtain: (source, path, options) => obtainFile(signal, source, path, options),
    interactive: async (argv) => (await execute(unlessTyped(signal), argv, {}, true)).exitCode,
    lock: holdLock,
  };
}

/** On the terminal Ctrl-C is the command's own affair; a request to end is ours to hand on. */
function unlessTyped(signal: AbortSignal): AbortSignal {
  const requested = new AbortController();
  signal.addEventListener("abort", () => {
    if (signal.reason !== "SIGINT") requested.abort();
  });
  return requested.signal;
}
