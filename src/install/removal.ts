import { destroyContainer } from "../containers/destroy.ts";
import { listContainers } from "../containers/record.ts";
import type { Actor } from "../audit/record.ts";
import type { JsonObject } from "../audit/rows.ts";
import { CommandFailed } from "../host/command-failed.ts";
import { Interrupted, messageOf, UserError } from "../host/errors.ts";
import type { Host, HostView } from "../host/host.ts";
import { refuseMountsIn } from "../host/mounts.ts";
import { AUDIT_DATABASE, HOST_STATE, PACKAGE, POOL_IMAGE, POOL_MOUNT_UNIT } from "../paths.ts";
import { findPoolAway } from "../pool/find-pool.ts";
import type { Report } from "../report/report.ts";
import { journalRecorder, recordIntent } from "./journal.ts";
import type { Recorder } from "./run-steps.ts";
import {
  changesNeeded,
  type Degree,
  lookAt,
  OK,
  PART,
  refuseFindings,
  type Removal,
  type RemovalFinding,
  type Step,
} from "./step.ts";

/** A part of a removal. */
export interface RemovalPart {
  /** The id of the step that it undoes, or a name of its own. */
  readonly id: string;
  readonly removal: Removal;
}

/** A part, and what a look at it found. */
export interface PlannedRemoval {
  readonly id: string;
  readonly finding: RemovalFinding;
}

/** What became of a part: done, nothing to do, or why it could not be done. */
export interface RemovalOutcome {
  readonly id: string;
  readonly outcome: "removed" | "already" | "left";
  readonly changes: readonly string[];
  /** What goes on being there, and is meant to. */
  readonly stays?: readonly string[];
  readonly reason?: string;
  readonly hint?: string;
}

/**
 * The parts of a removal, in the order in which they must go: what was made
 * last goes first, and the program that removes the rest goes last.
 * @param steps those of the installation, in their order
 * @param names the containers that may be destroyed: those that the admin was asked about
 */
export function removalParts(steps: readonly Step[], names: readonly string[]): readonly RemovalPart[] {
  const undone = steps.toReversed().flatMap(({ id, removal }) => (removal === undefined ? [] : [{ id, removal }]));
  return [
    { id: PART.containers, removal: containersRemoval(names) },
    ...undone,
    { id: HOST_STATE_PART, removal: hostState },
    { id: PACKAGE_PART, removal: programPackage },
  ];
}

/**
 * Records a removal. That of the pool, which takes the record with it, leaves
 * an intent, and an outcome only when it failed; what goes after it leaves none.
 */
export function removalRecorder(host: Host, actor: Actor, degree: Degree): Recorder {
  const inJournal = journalRecorder(host, actor);
  return async (operation, target, details, change) => {
    if (degree !== "everything" || !WHEN_ALL_WENT.has(target)) return inJournal(operation, target, details, change);
    if (target !== PART.pool || (await host.stat(AUDIT_DATABASE)) === undefined) return change();
    return recordIntent(host, actor, { operation, target, metadata: details as JsonObject }, change);
  };
}

/** What would be removed, part by part. Changes nothing. */
export async function planRemovals(
  parts: readonly RemovalPart[],
  host: HostView,
  degree: Degree,
): Promise<PlannedRemoval[]> {
  const plan: PlannedRemoval[] = [];
  const before = new Set<string>();
  for (const { id, removal } of parts) {
    const finding = await lookAt(() => removal.check(host, degree, before));
    plan.push({ id, finding });
    if (finding.state === "change") before.add(id);
  }
  return plan;
}

/**
 * Refuses a removal that could not be finished, before anything of it was done.
 * @throws {UserError} with exit code 3, naming all that is in the way
 */
export function refuseBlockedRemoval(plan: readonly PlannedRemoval[]): void {
  refuseFindings("Unable to remove this from the host; nothing was removed", plan);
}

/**
 * Mounts a pool that is there and not mounted: what is in it must be seen before it is removed.
 * @returns whether it did
 */
export async function revealPool(host: Host): Promise<boolean> {
  if ((await findPoolAway(host)) === undefined) return false;
  // one that does not come up is told by the check of its part
  await host.run(["systemctl", "start", POOL_MOUNT_UNIT]).catch((error: unknown) => {
    if (error instanceof Interrupted) throw error;
  });
  return (await findPoolAway(host)) === undefined;
}

const HOST_STATE_PART = "host-state";
const PACKAGE_PART = "package";

/** Parts that go only when all before them is gone: data, and what finishes a removal. */
const WHEN_ALL_WENT: ReadonlySet<string> = new Set([PART.pool, HOST_STATE_PART, PACKAGE_PART]);

/**
 * Removes part after part. One that cannot go does not keep the others, but
 * for the pool, and for the program itself and its receipt, which stay to
 * finish what is left.
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
    if (WHEN_ALL_WENT.has(id) && left !== undefined) {
      const reason = `it stays until this can be removed, too: ${left.id}`;
      outcomes.push({ id, outcome: "left", changes: [], reason, hint: again(degree) });
    } else outcomes.push(await removeOne({ id, removal }, host, degree, report, record));
  }
  return outcomes;
}

/** The command that goes on with a removal. */
function again(degree: Degree): string {
  return `${PACKAGE} uninstall${degree === "program" ? "" : ` --${degree}`}`;
}

async function removeOne(
  { id, removal }: RemovalPart,
  host: Host,
  degree: Degree,
  report: Report,
  record: Recorder,
): Promise<RemovalOutcome> {
  const finding = await lookAt(() => removal.check(host, degree, new Set()));
  if (finding.state === "blocked") {
    return { id, outcome: "left", changes: [], reason: finding.reason, hint: finding.hint };
  }
  const stays = finding.stays === undefined ? {} : { stays: finding.stays };
  if (finding.state === "ok") return { id, outcome: "already", changes: [], ...stays };
  const { changes } = finding;
  for (const text of changes) report({ kind: "say", text });
  try {
    await record("uninstall_step", id, { changes }, () => removal.apply(host, degree, report));
    return { id, outcome: "removed", changes, ...stays };
  } catch (error) {
    if (!(error instanceof UserError) || error instanceof Interrupted) throw error;
    return { id, outcome: "left", changes, reason: messageOf(error), hint: error.hint ?? again(degree) };
  }
}

// one that was made after the question was asked stays, and keeps the pool
function containersRemoval(names: readonly string[]): Removal {
  const named = async (host: HostView) => (await listContainers(host)).filter((name) => names.includes(name));
  return {
    async check(host, degree) {
      if (degree !== "everything") return OK;
      return changesNeeded((await named(host)).map((name) => `Destroy the container ${name} and its data`));
    },
    async apply(host) {
      for (const name of await named(host)) await destroyContainer(host, name, true);
    },
  };
}

const hostState: Removal = {
  async check(host, degree) {
    if (degree !== "everything" || (await host.stat(HOST_STATE)) === undefined) return OK;
    await refuseMountsIn(host, HOST_STATE);
    return changesNeeded([`Remove ${HOST_STATE}`]);
  },
  async apply(host) {
    // whatever went wrong before this: data does not go by the way
    if ((await host.stat(POOL_IMAGE)) !== undefined) throw new UserError(`${POOL_IMAGE} is still there`);
    await host.remove(HOST_STATE);
  },
};

/** The unit in which dpkg works, and by which its words are found. */
const DPKG_UNIT = `${PACKAGE}-removal`;

/**
 * By dpkg and not by apt: what the package needed is not ours to remove. In a
 * unit of its own, which goes on when this process ends, or its terminal: a
 * dpkg that is cut off, or that nobody listens to any more, leaves the host's
 * packages to be mended by hand.
 */
const programPackage: Removal = {
  async check(host, degree) {
    const shown = await host.probe(["dpkg-query", "--show", "--showformat=${db:Status-Status}", PACKAGE]);
    const status = shown.stdout.trim();
    if (["", "not-installed"].includes(status) || (status === "config-files" && degree === "program")) return OK;
    const change = changesNeeded([`${degree === "program" ? "Remove" : "Purge"} the Debian package ${PACKAGE}`]);
    if (degree !== "everything") return change;
    const stays = ["the system group opdbus", "the Debian packages that came with it (apt autoremove takes those)"];
    return { ...change, stays };
  },
  async apply(host, degree) {
    const inUnit = ["--quiet", "--collect", "--wait", `--unit=${DPKG_UNIT}`, "--service-type=exec", "--"];
    const dpkg = ["dpkg", degree === "program" ? "--remove" : "--purge", PACKAGE];
    try {
      await host.run(["systemd-run", ...inUnit, ...dpkg], { shielded: true });
    } catch (error) {
      // the words of dpkg are in the journal; what is said here is systemd's, who did not start it
      if (!(error instanceof CommandFailed) || error.result.stderr.trim() !== "") throw error;
      throw new UserError(`\`${dpkg.join(" ")}\` failed`, {
        hint: `journalctl --no-pager --unit ${DPKG_UNIT}   # says why`,
        cause: error,
      });
    }
  },
};
