import { mirrorsIn, type Settings } from "../config/settings.ts";
import type { PoolRequest } from "../pool/plan-pool.ts";
import type { Step } from "./step.ts";
import { auditStep } from "./steps/audit.ts";
import { environmentStep } from "./steps/environment.ts";
import { inPool } from "./steps/in-pool.ts";
import { introspectionStep } from "./steps/introspection.ts";
import { laterStep } from "./steps/later.ts";
import { markerStep } from "./steps/marker.ts";
import { pluginsStep } from "./steps/plugins.ts";
import { programStep } from "./steps/program.ts";
import { socketsStep } from "./steps/sockets.ts";
import { subvolumesStep } from "./steps/subvolumes.ts";
import { templatesStep } from "./steps/templates.ts";

/** The twelve steps of the specification's "Install Script Flow", in its order: what happens to your machine. */
export function installSteps(settings: Settings, pool: PoolRequest): readonly Step[] {
  return [
    environmentStep(),
    subvolumesStep(pool),
    laterStep("openvswitch", "Set up Open vSwitch networking", ["the bridge ovsbr0, its flows, addresses and uplink"]),
    laterStep("netmaker", "Install Netmaker", ["netclient and the enrolment of containers"]),
    inPool(templatesStep(settings.templates.install, mirrorsIn(settings))),
    laterStep("proxmox", "Configure Proxmox VE", ["publishing templates, hooks and defaults on Proxmox VE"]),
    inPool(auditStep()),
    inPool(socketsStep()),
    inPool(pluginsStep()),
    programStep(),
    inPool(introspectionStep()),
    markerStep(),
  ];
}
