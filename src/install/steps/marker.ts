import { SETTINGS } from "../../paths.ts";
import type { HostView } from "../../host/host.ts";
import { requirePool } from "../../pool/find-pool.ts";
import { VERSION } from "../../version.ts";
import { OK, type Step } from "../step.ts";

/** Its presence means: this is an installed node, a further run is an upgrade. */
const INSTALLED_MARKER = `${SETTINGS}/installed`;

/** What /etc/opdbus/installed says; its keys are those of the file. */
export interface InstalledMarker {
  readonly version: string;
  /** ISO 8601, UTC. */
  readonly installed_at: string;
  readonly upgraded_at: string | null;
}

/** The marker of the last complete installation; undefined before the first. */
export async function readMarker(host: HostView): Promise<InstalledMarker | undefined> {
  const text = await host.readText(INSTALLED_MARKER);
  try {
    const marker = JSON.parse(text ?? "") as Partial<InstalledMarker>;
    if (typeof marker.version !== "string" || typeof marker.installed_at !== "string") return undefined;
    return { version: marker.version, installed_at: marker.installed_at, upgraded_at: marker.upgraded_at ?? null };
  } catch {
    return undefined;
  }
}

/** Step 12: /etc/opdbus/installed. */
export function markerStep(): Step {
  return {
    id: "installed",
    title: "Mark the node as installed",
    notYet: ["upgrade of settings that an admin has edited"],
    async check(host) {
      const marker = await readMarker(host);
      if (marker?.version === VERSION) return OK;
      const what =
        marker === undefined ? `Write ${INSTALLED_MARKER}` : `Record the upgrade from ${marker.version} to ${VERSION}`;
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
  };
}
