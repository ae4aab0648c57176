import { buildTemplate } from "../../templates/build.ts";
import { readDefinition } from "../../templates/definition.ts";
import { currentVersion } from "../../templates/manifest.ts";
import type { Mirrors } from "../../templates/mirror.ts";
import { findSource } from "../../templates/source.ts";
import { changesNeeded, type Step } from "../step.ts";

/**
 * Step 5: every template that the settings name has a current version.
 * @param names templates of [templates] install
 */
export function templatesStep(names: readonly string[], mirrors: Mirrors): Step {
  return {
    id: "templates",
    title: "Create the container templates",
    notYet: ["the Netmaker client in templates"],
    async check(host) {
      const changes: string[] = [];
      for (const name of names) {
        // what is wrong with a definition or the mirror must be told before anything is changed
        const definition = await readDefinition(host, name);
        if ((await currentVersion(host, name)) !== undefined) continue;
        await findSource(host, definition, mirrors);
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
