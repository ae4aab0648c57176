import { saveState } from "../../plugins/state.ts";
import { PLUGIN_SKELETONS } from "../../plugins/skeletons.ts";
import { CURRENT_STATE, PLUGINS, SNAPSHOTS } from "../../paths.ts";
import { requirePool } from "../../pool/find-pool.ts";
import { snapshotReadOnly } from "../../pool/subvolumes.ts";
import type { HostView } from "../../host/host.ts";
import { changesNeeded, type Step } from "../step.ts";

/** Step 11: what is there is written down, and each plugin has a first snapshot. */
export function introspectionStep(): Step {
  return {
    id: "introspection",
    title: "Record the state of the node",
    notYet: ["introspection over D-Bus"],
    async check(host) {
      const changes =
        (await host.stat(CURRENT_STATE)) === undefined ? [`Save the output of op-dbus query to ${CURRENT_STATE}`] : [];
      for (const name of await withoutSnapshot(host)) changes.push(`Take a first snapshot of the plugin ${name}`);
      return changesNeeded(changes);
    },
    async apply(host) {
      await requirePool(host);
      const day = new Date().toISOString().slice(0, 10).replaceAll("-", "");
      for (const name of await withoutSnapshot(host)) {
        await snapshotReadOnly(host, `${PLUGINS}/${name}`, `${SNAPSHOTS}/plugin-${name}-${day}`);
      }
      // also where the service wrote it: in its own view it was not up yet
      await saveState(host);
    },
  };
}

async function withoutSnapshot(host: HostView): Promise<string[]> {
  const taken = (await host.list(SNAPSHOTS)) ?? [];
  return PLUGIN_SKELETONS.map(({ name }) => name).filter(
    (name) => !taken.some((each) => each.startsWith(`plugin-${name}-`)),
  );
}
