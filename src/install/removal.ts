import { destroyContainer } from "../containers/destroy.ts";
import { listContainers } from "../containers/record.ts";
import { Interrupted, messageOf, UserError } from "../host/errors.ts";
import type { Host, HostView } from "../host/host.ts";
import { HOST_STATE, PACKAGE, POOL_IMAGE, POOL_MOUNT_UNIT } from "../paths.ts";
import { findPoolAway } from "../pool/find-pool.ts";
import type { Report } from "../report/report.ts";
import type { Recorder } from "./run-steps.ts";
import { changesNeeded, type Degree, type Finding, OK, type Removal, type Step } from "./step.ts";

/** A part of a removal. */
export interface RemovalPart {
  /** The id of the step that it undoes, or a name of its own. */
  readonly id: string;
  readonly removal: Removal;
}

/** What became of a part: done, nothing to do, or why it could not be done. */
export interface RemovalOutcome {
  readonly id: string;
  readonly outcome: "removed" | "already" | "left";
  readonly changes: readonly string[];
  readonly reason?: string;
  readonly hint?: string;
}

/**
 * The parts of a removal, in the order in which they must go: what was made
 * last goes first, and the program that removes the rest goes last.
 * @param steps those of the installation, in their order
 */
export function removalParts(steps: readonly Step[]): readonly RemovalPart[] {
  const undone = steps.toReversed().flatMap(({ id, removal }) => (removal === undefined ? [] : [{ id, removal }]));
  return [
    { id: "containers", removal: containers },
    ...undone,
    { id: "host-state", removal: hostState },
    { id: "package", removal: programPackage },
  ];
}

/** What would be removed, part by part. Changes nothing. */
export async function planRemovals(
  parts: readonly RemovalPart[],
  host: HostView,
  degree: Degree,
): Promise<{ id: string; finding: Finding }[]> {
  const plan: { id: string; finding: Finding }[] = [];
  const before = new Set<string>();
  for (const { id, removal } of parts) {
    const finding = await look(removal, host, degree, before);
    plan.push({ id, finding });
    if (finding.state === "change") before.add(id);
  }
  return plan;
}

/** Mounts a pool that is there and not mounted: what is in it must be seen before it is removed. */
export async function revealPool(host: Host): Promise<void> {
  if ((await findPoolAway(host)) === undefined) return;
  // one that does not come up is told by the check of its part
  await host.run(["systemctl", "start", POOL_MOUNT_UNIT]).catch((error: unknown) => {
    if (error instanceof Interrupted) throw error;
  });
}

/** What finishes a removal, and goes only when all else is gone. */
const LAST = new Set(["host-state", "package"]);

/**
 * Removes part after part. One that cannot go does not keep the others, but
 * for the program itself and its receipt, which stay to finish what is left.
 */
export async function applyRemovals(
  parts: readonly RemovalPart[],
  host: Host,
  degree: Degree,
  report: Report,
  record: Recorder,
): Promise<RemovalOutcome[]> {
  const outcomes: RemovalOutcome[] = [];
  for (const { id, removal } of parts) {
    const left = outcomes.find(({ outcome }) => outcome === "left");
    if (LAST.has(id) && left !== undefined) {
      const reason = `it stays until this can be removed, too: ${left.id}`;
      outcomes.push({ id, outcome: "left", changes: [], reason, hint: `${PACKAGE} uninstall` });
    } else outcomes.push(await removeOne({ id, removal }, host, degree, report, record));
  }
  return outcomes;
}

async function removeOne(
  { id, removal }: RemovalPart,
  host: Host,
  degree: Degree,
  report: Report,
  record: Recorder,
): Promise<RemovalOutcome> {
  const finding = await look(removal, host, degree);
  if (finding.state === "blocked") {
    return { id, outcome: "left", changes: [], reason: finding.reason, hint: finding.hint };
  }
  if (finding.state !== "change") return { id, outcome: "already", changes: [] };
  const { changes } = finding;
  for (const text of changes) report({ kind: "say", text });
  try {
    await record("uninstall_step", id, { changes }, () => removal.apply(host, degree, report));
    return { id, outcome: "removed", changes };
  } catch (error) {
    if (!(error instanceof UserError) || error instanceof Interrupted) throw error;
    return { id, outcome: "left", changes, reason: messageOf(error), hint: error.hint ?? `${PACKAGE} uninstall` };
  }
}

async function look(
  removal: Removal,
  host: HostView,
  degree: Degree,
  before: ReadonlySet<string> = new Set(),
): Promise<Finding> {
  try {
    return await removal.check(host, degree, before);
  } catch (error) {
    if (!(error instanceof UserError) || error instanceof Interrupted) throw error;
    return { state: "blocked", reason: error.message, hint: error.hint ?? `${PACKAGE} doctor` };
  }
}

/** Whoever asks for this has asked the admin. */
const containers: Removal = {
  async check(host, degree) {
    if (degree !== "everything") return OK;
    return changesNeeded((await listContainers(host)).map((name) => `Destroy the container ${name} and its data`));
  },
  async apply(host) {
    for (const name of await listContainers(host)) await destroyContainer(host, name, true);
  },
};

const hostState: Removal = {
  async check(host, degree, before) {
    if (degree !== "everything" || (await host.stat(HOST_STATE)) === undefined) return OK;
    if (!before.has("subvolumes") && (await host.stat(POOL_IMAGE)) !== undefined) {
      return { state: "blocked", reason: "the pool's file is in it", hint: `${PACKAGE} uninstall --everything` };
    }
    return changesNeeded([`Remove ${HOST_STATE}`]);
  },
  apply: (host) => host.remove(HOST_STATE),
};

/**
 * By dpkg and not by apt: what the package needed is not ours to remove. In a
 * unit of its own, which goes on when this process ends, or its terminal: a
 * dpkg that is cut off leaves the host's packages to be mended by hand.
 */
const programPackage: Removal = {
  async check(host, degree) {
    const shown = await host.probe(["dpkg-query", "--show", "--showformat=${Status}", PACKAGE]);
    const status = shown.stdout.split(" ").at(-1);
    if (status !== "installed" && !(status === "config-files" && degree !== "program")) return OK;
    const what = degree === "program" ? "Remove" : "Purge";
    return changesNeeded([`${what} the Debian package ${PACKAGE}`]);
  },
  async apply(host, degree) {
    const unit = ["systemd-run", "--quiet", "--collect", "--wait", "--pipe", "--service-type=exec", "--"] as const;
    await host.run([...unit, "dpkg", degree === "program" ? "--remove" : "--purge", PACKAGE], { shielded: true });
  },
};
