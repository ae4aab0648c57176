import { isText, orNothing, readWritten, type Shape } from "../../config/written-json.ts";
import { SETTINGS } from "../../paths.ts";
import type { HostView } from "../../host/host.ts";
import { requirePool } from "../../pool/find-pool.ts";
import { VERSION } from "../../version.ts";
import { changesNeeded, OK, type Step } from "../step.ts";

/** Its presence means: this is an installed node, a further run is an upgrade. */
const INSTALLED_MARKER = `${SETTINGS}/installed`;

/** What /etc/opdbus/installed says; its keys are those of the file. */
export interface InstalledMarker {
  readonly version: string;
  /** ISO 8601, UTC. */
  readonly installed_at: string;
  readonly upgraded_at: string | null;
}

const SHAPE: Shape<InstalledMarker> = { version: isText, installed_at: isText, upgraded_at: orNothing(isText) };

/** The marker of the last complete installation; undefined before the first. */
export async function readMarker(host: HostView): Promise<InstalledMarker | undefined> {
  return readWritten(await host.readText(INSTALLED_MARKER), SHAPE);
}

/** The id of the step that comes last, and only to a host that lacks nothing. */
export const MARKER_STEP = "installed";

/** Step 12: /etc/opdbus/installed. */
export function markerStep(): Step {
  return {
    id: MARKER_STEP,
    title: "Mark the node as installed",
    notYet: [],
    async check(host) {
      const marker = await readMarker(host);
      if (marker?.version === VERSION) return OK;
      const what =
        marker === undefined
          ? `Write ${INSTALLED_MARKER}`
          : `Record the change of version from ${marker.version} to ${VERSION}`;
      return { state: "change", changes: [what] };
    },
    async apply(host) {
      await requirePool(host);
      const before = await readMarker(host);
      const now = new Date().toISOString();
      const marker: InstalledMarker = {
        version: VERSION,
        installed_at: before?.installed_at ?? now,
        upgraded_at: before === undefined ? null : now,
      };
      await host.writeText(INSTALLED_MARKER, `${JSON.stringify(marker, null, 2)}\n`);
    },
    removal: {
      async check(host) {
        return (await host.stat(INSTALLED_MARKER)) === undefined ? OK : changesNeeded([`Remove ${INSTALLED_MARKER}`]);
      },
      apply: (host) => host.remove(INSTALLED_MARKER),
    },
  };
}
