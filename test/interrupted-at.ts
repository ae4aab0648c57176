import { Interrupted } from "../src/host/errors.ts";
import type { CommandOptions, Host } from "../src/host/host.ts";

/** The host as a process sees it that is interrupted before one of its commands: from then on none runs that is not shielded. */
export function interruptedAt(host: Host, cut: number): Host {
  let count = 0;
  const unlessInterrupted = <Result>(options: CommandOptions | undefined, run: () => Promise<Result>) =>
    !options?.shielded && count++ >= cut ? Promise.reject(new Interrupted()) : run();
  return {
    ...host,
    probe: (argv, options) => unlessInterrupted(options, () => host.probe(argv, options)),
    run: (argv, options) => unlessInterrupted(options, () => host.run(argv, options)),
    pipe: (from, to, options) => unlessInterrupted(options, () => host.pipe(from, to, options)),
  };
}
