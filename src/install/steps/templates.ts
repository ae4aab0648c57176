import { buildTemplate } from "../../templates/build.ts";
import { type Definition, readDefinition } from "../../templates/definition.ts";
import { currentVersion } from "../../templates/manifest.ts";
import type { HostView } from "../../host/host.ts";
import { Interrupted, UserError } from "../../host/errors.ts";
import { aptSources, type Mirrors } from "../../templates/mirror.ts";
import { changesNeeded, type Finding, type Step } from "../step.ts";

/**
 * Step 5: every template that the settings name has a current version.
 * @param names templates of [templates] install
 */
export function templatesStep(names: readonly string[], mirrors: Mirrors): Step {
  return {
    id: "templates",
    title: "Create the container templates",
    notYet: ["the Netmaker client in templates", "templates of Ubuntu and Alpine"],
    async check(host) {
      const changes: string[] = [];
      for (const name of names) {
        // what is wrong with a definition or the mirror must be told before anything is changed
        const definition = await readDefinition(host, name);
        if ((await currentVersion(host, name)) !== undefined) continue;
        const blocked = await findBlock(host, definition, mirrors);
        if (blocked) return blocked;
        changes.push(`Build the template ${name}`);
      }
      return changesNeeded(changes);
    },
    async apply(host, report) {
      for (const name of names) {
        if ((await currentVersion(host, name)) !== undefined) continue;
        await buildTemplate(host, await readDefinition(host, name), mirrors, report);
      }
    },
  };
}

async function findBlock(host: HostView, { source }: Definition, mirrors: Mirrors): Promise<Finding | undefined> {
  try {
    await aptSources(host, mirrors, source.suites[0] ?? "", source);
    return undefined;
  } catch (error) {
    if (!(error instanceof UserError) || error instanceof Interrupted) throw error;
    return { state: "blocked", reason: error.message, hint: error.hint ?? "apt-get update" };
  }
}
