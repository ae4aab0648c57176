import { EXIT, UserError } from "../host/errors.ts";
import type { HostView } from "../host/host.ts";
import { publicAddress } from "../host/public-address.ts";
import { type Definition, isArchive, type PackagesDefinition } from "./definition.ts";
import { aptSources, type Mirrors } from "./mirror.ts";

/** What of a definition's source can be chosen at a build. */
export interface SourceOptions extends Mirrors {
  /** One of the definition's suites; the first unless given. */
  readonly suite?: string;
  /** What the archive's SHA-256 must be, where the definition does not say it. */
  readonly sha256?: string;
}

/** Where a template's tree comes from. */
export type Source =
  | {
      readonly type: "packages";
      readonly suite: string;
      /** For sources.list. */
      readonly lines: readonly string[];
      readonly lacksSecurity: boolean;
    }
  | { readonly type: "archive"; readonly url: string; readonly sha256: string };

/**
 * Finds what a template is to be made from, and changes nothing.
 * @throws {UserError} when the definition has no such suite, there is no mirror, or nothing says which archive is the right one
 */
export async function findSource(host: HostView, definition: Definition, options: SourceOptions): Promise<Source> {
  if (!isArchive(definition)) {
    if (options.sha256 !== undefined) throw notFor(definition, "--sha256", "it is built from packages");
    const suite = chooseSuite(definition, options.suite);
    return { type: "packages", suite, ...(await aptSources(host, options, suite, definition.source)) };
  }
  if (options.suite !== undefined) throw notFor(definition, "--suite", "it is made from an archive");
  const { url, sha256: defined } = definition.source;
  const sha256 = defined ?? options.sha256;
  if (sha256 === undefined) {
    throw new UserError(
      `Nothing says which SHA-256 the archive of ${definition.name} must have: ${publicAddress(url)}`,
      {
        hint: `op-dbus template build ${definition.name} --sha256 HEX   # as its maker publishes it; or sha256 = "…" in a definition of your own`,
        exitCode: EXIT.unsupported,
      },
    );
  }
  if (options.sha256 !== undefined && options.sha256 !== sha256) {
    throw notFor(definition, "--sha256", `its definition says ${sha256}`);
  }
  return { type: "archive", url, sha256 };
}

function notFor({ name, file }: Definition, option: string, why: string): UserError {
  return new UserError(`${option} is not for the template ${name}: ${why}`, {
    hint: `see ${file}`,
    exitCode: EXIT.usage,
  });
}

function chooseSuite(definition: PackagesDefinition, wanted: string | undefined): string {
  const { suites } = definition.source;
  const suite = wanted ?? suites[0];
  if (suite !== undefined && suites.includes(suite)) return suite;
  throw new UserError(`The template ${definition.name} cannot be built from ${JSON.stringify(wanted)}`, {
    hint: `its suites are ${suites.join(", ")}, see ${definition.file}`,
    exitCode: EXIT.usage,
  });
}
