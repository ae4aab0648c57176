import { describeContainers } from "../containers/describe.ts";
import { findMisfits } from "../containers/fit.ts";
import { Interrupted, UserError } from "../host/errors.ts";
import type { HostView } from "../host/host.ts";
import { planSteps } from "../install/run-steps.ts";
import { type Finding, sayFinding, type Step } from "../install/step.ts";
import { AUDIT_DATABASE, HOST_STATE, RUNTIME } from "../paths.ts";
import { isOvercommitted, poolUsage } from "../pool/usage.ts";
import { humanBytes } from "../report/bytes.ts";
import { describeTemplates } from "../templates/describe.ts";

/** What `doctor` says of one subject. */
export interface Diagnosis {
  /** Permanent: the id of a step, or the name of an examination. */
  readonly code: string;
  readonly state: Finding["state"];
  readonly what: string;
  /** The command that mends it; null where nothing is to be done. */
  readonly mend: string | null;
  /** What belongs to it, and this version cannot do. */
  readonly notYet: readonly string[];
}

/** What can be wrong on a node that no step of the installation would mend. */
const EXAMINATIONS: Readonly<Record<string, Examination>> = {
  "pool-space": examinePoolSpace,
  "audit-chain": examineAuditChain,
  template: examineTemplates,
  container: examineContainers,
  "drop-in": examineDropIns,
};

interface Fault {
  readonly what: string;
  readonly mend: string;
}

type Examination = (host: HostView) => Promise<Fault[]>;

/** Looks at all that can be wrong on this node; changes nothing. */
export async function examine(host: HostView, steps: readonly Step[]): Promise<Diagnosis[]> {
  const found = (await planSteps(steps, host)).map(({ step, finding }) => ofStep(step, finding));
  for (const [code, look] of Object.entries(EXAMINATIONS)) {
    const faults = await findFaults(look, host);
    found.push(...faults.map(({ what, mend }) => ({ code, state: "blocked", what, mend, notYet: [] }) as const));
  }
  return found;
}

// a disk that fails under one look must not hide what the others found
async function findFaults(look: Examination, host: HostView): Promise<Fault[]> {
  try {
    return await look(host);
  } catch (error) {
    if (!(error instanceof UserError) || error instanceof Interrupted) throw error;
    return [{ what: error.message, mend: error.hint ?? "dmesg" }];
  }
}

function ofStep({ id: code, title, notYet }: Step, finding: Finding): Diagnosis {
  const { state } = finding;
  const said = sayFinding(finding);
  if (state === "change") return { code, state, what: said, mend: "opdbus-pve install", notYet };
  if (state === "blocked") return { code, state, what: said, mend: finding.hint, notYet };
  return { code, state, what: said === "" ? title : `${title}: ${said}`, mend: null, notYet };
}

/** Below this share of free space BTRFS gets slow, and an unlucky build fills it. */
const LITTLE = 0.1;

async function examinePoolSpace(host: HostView): Promise<Fault[]> {
  const pool = await poolUsage(host);
  if (pool === undefined) return [];
  if (pool.freeBytes < pool.totalBytes * LITTLE) {
    const what = `the pool is nearly full: ${humanBytes(pool.freeBytes)} of ${humanBytes(pool.totalBytes)} are free`;
    const mend = "op-dbus status   # shows what fills it; container destroy and template remove make room";
    return [{ what, mend }];
  }
  if (pool.growth === undefined || !isOvercommitted(pool)) return [];
  const { mayGrowBytes, hostFreeBytes } = pool.growth;
  const what = `the pool's file may grow by ${humanBytes(mayGrowBytes)}, and its disk has ${humanBytes(hostFreeBytes)} left: when that is full, the pool fails`;
  return [{ what, mend: `df -h ${HOST_STATE}   # make room there, or remove containers and templates` }];
}

async function examineAuditChain(host: HostView): Promise<Fault[]> {
  if ((await host.stat(AUDIT_DATABASE)) === undefined) return [];
  const { readAuditLog } = await import("../audit/audit-log.ts");
  const log = readAuditLog(AUDIT_DATABASE, RUNTIME);
  try {
    const verdict = log.verify();
    if (verdict.ok) return [];
    const what = `the audit log was tampered with or damaged: ${verdict.firstBad.what}`;
    return [{ what, mend: "op-dbus audit verify" }];
  } finally {
    log.close();
  }
}

async function examineTemplates(host: HostView): Promise<Fault[]> {
  const templates = await describeTemplates(host);
  return templates.flatMap(({ broken, mend = "" }) => (broken === undefined ? [] : [{ what: broken, mend }]));
}

async function examineContainers(host: HostView): Promise<Fault[]> {
  const containers = await describeContainers(host);
  const found: Fault[] = [];
  for (const container of containers) {
    if ("broken" in container) found.push({ what: container.broken, mend: container.mend });
    else found.push(...(await findMisfits(host, container.name)));
  }
  return found;
}

const LXC_DROP_INS = "/usr/share/lxc/config/common.conf.d";
const LOOSENING =
  /^\s*(lxc\.apparmor\.profile\s*=\s*unconfined|lxc\.cgroup2?\.devices\.allow\s*=\s*a|lxc\.cap\.drop\s*=)\s*$/m;

/** Files that older installers of this kind left behind, and that loosen every container of the node. */
async function examineDropIns(host: HostView): Promise<Fault[]> {
  const found: Fault[] = [];
  for (const name of (await host.list(LXC_DROP_INS)) ?? []) {
    const path = `${LXC_DROP_INS}/${name}`;
    const line = LOOSENING.exec((await host.readText(path)) ?? "")?.[1];
    if (line === undefined) continue;
    const what = `${path} has "${line.trim()}", which takes protection from every container of this node`;
    found.push({ what, mend: `rm ${path}   # after a look at who needs it` });
  }
  return found;
}
