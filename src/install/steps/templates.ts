import { buildTemplate } from "../../templates/build.ts";
import { readDefinition } from "../../templates/definition.ts";
import { currentVersion } from "../../templates/manifest.ts";
import { changesNeeded, type Step } from "../step.ts";

/**
 * Step 5: every template that the settings name has a current version.
 * @param names templates of [templates] install
 * @param mirror an address, or `auto`
 */
export function templatesStep(names: readonly string[], mirror: string): Step {
  return {
    id: "templates",
    title: "Create the container templates",
    notYet: ["the Netmaker client in templates", "templates of Ubuntu and Alpine"],
    async check(host) {
      const changes: string[] = [];
      for (const name of names) {
        // a definition that is broken must be told before anything is changed
        await readDefinition(host, name);
        if ((await currentVersion(host, name)) === undefined) changes.push(`Build the template ${name}`);
      }
      return changesNeeded(changes);
    },
    async apply(host, report) {
      for (const name of names) {
        if ((await currentVersion(host, name)) !== undefined) continue;
        await buildTemplate(host, await readDefinition(host, name), { mirror }, report);
      }
    },
  };
}
