import type { Host } from "../../host/host.ts";
import { PLUGIN_SKELETONS } from "../../plugins/skeletons.ts";
import { PLUGINS } from "../../paths.ts";
import { requirePool } from "../../pool/find-pool.ts";
import { createSubvolume, isSubvolume } from "../../pool/subvolumes.ts";
import { changesNeeded, type Step } from "../step.ts";

/** Step 9: a subvolume for each plugin, with the files it starts with. What is there is kept. */
export function pluginsStep(): Step {
  return {
    id: "plugins",
    title: "Initialise the plugin folders",
    notYet: ["discovery over D-Bus"],
    async check(host) {
      const changes: string[] = [];
      for (const { name, files, folders } of PLUGIN_SKELETONS) {
        const path = `${PLUGINS}/${name}`;
        const found = await host.stat(path);
        if (found !== undefined && !isSubvolume(found)) {
          return { state: "blocked", reason: `${path} exists and is no subvolume`, hint: `mv ${path} ${path}.before` };
        }
        if (found === undefined) {
          changes.push(`Create the plugin subvolume @plugins/${name}`);
          continue;
        }
        for (const each of [...files.map((file) => file.name), ...folders]) {
          if ((await host.stat(`${path}/${each}`)) === undefined) changes.push(`Create @plugins/${name}/${each}`);
        }
      }
      return changesNeeded(changes);
    },
    apply,
  };
}

async function apply(host: Host): Promise<void> {
  await requirePool(host);
  for (const { name, files, folders } of PLUGIN_SKELETONS) {
    const path = `${PLUGINS}/${name}`;
    if ((await host.stat(path)) === undefined) await createSubvolume(host, path);
    for (const folder of folders) {
      if ((await host.stat(`${path}/${folder}`)) === undefined)
        await host.makeDirectory(`${path}/${folder}`, { mode: 0o700 });
    }
    for (const { name: file, content } of files) {
      if ((await host.stat(`${path}/${file}`)) === undefined) await host.writeText(`${path}/${file}`, content);
    }
  }
}
