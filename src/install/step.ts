import { EXIT, Interrupted, UserError } from "../host/errors.ts";
import type { Host, HostView } from "../host/host.ts";
import type { Report } from "../report/report.ts";

/** What a step's look at the machine found. */
export type Finding =
  | { readonly state: "ok" }
  /** Sentences in the imperative, one for each change. */
  | { readonly state: "change"; readonly changes: readonly [string, ...string[]] }
  /** What is missing, and the command that mends it. */
  | { readonly state: "blocked"; readonly reason: string; readonly hint: string }
  /** Nothing can be said before the pool is mounted: why it is not, and the command that mends it. */
  | { readonly state: "waits"; readonly reason: string; readonly hint: string }
  /** This version does not know how; the step's `notYet` says what. */
  | { readonly state: "later" };

/** Nothing is to be done. */
export const OK = { state: "ok" } as const satisfies Finding;
/** Not in this version. */
export const LATER: Finding = { state: "later" };

/** `change` with these sentences, or `ok` when there are none. */
export function changesNeeded(changes: readonly string[]): Extract<Finding, { state: "ok" | "change" }> {
  const [first, ...rest] = changes;
  return first === undefined ? OK : { state: "change", changes: [first, ...rest] };
}

/** What an unsettled finding says, on one line; nothing of one that is settled. */
export function sayFinding(finding: Finding): string {
  if (finding.state === "change") return finding.changes.join("; ");
  if (finding.state === "blocked") return finding.reason;
  return finding.state === "waits" ? "to be seen when the pool is mounted" : "";
}

/** Whether nothing is to be done, as far as this version can. */
export function isSettled({ state }: Finding): boolean {
  return state === "ok" || state === "later";
}

type Blocked = Extract<Finding, { state: "blocked" }>;

/** Looks; what a look cannot get past is a finding like any other, and does not hide those behind it. */
export async function lookAt<F>(check: () => Promise<F>): Promise<F | Blocked> {
  try {
    return await check();
  } catch (error) {
    if (!(error instanceof UserError) || error instanceof Interrupted) throw error;
    return { state: "blocked", reason: error.message, hint: error.hint ?? "opdbus-pve doctor" };
  }
}

/**
 * Refuses work in whose way something is, before any of it was done.
 * @param what what cannot be done, and that nothing was
 * @throws {UserError} with exit code 3, naming all that is in the way
 */
export function refuseFindings(
  what: string,
  findings: readonly { readonly id: string; readonly finding: Finding | RemovalFinding }[],
): void {
  const blocked = findings.flatMap(({ id, finding }) => (finding.state === "blocked" ? [{ id, ...finding }] : []));
  if (blocked.length === 0) return;
  const reasons = blocked.map(({ id, reason }) => `  ${id}: ${reason}`).join("\n");
  throw new UserError(`${what}:\n${reasons}`, {
    hint: [...new Set(blocked.map(({ hint }) => hint))].join("\n"),
    exitCode: EXIT.unsupported,
  });
}

/** How far a removal goes; each degree takes what the one before takes, too. */
export type Degree = "program" | "settings" | "everything";

/** What a look at something that is to be removed found. */
export type RemovalFinding =
  | (Extract<Finding, { state: "ok" | "change" }> & {
      /** What nobody can undo without harm to others, or what is not ours to undo. */
      readonly stays?: readonly string[];
    })
  /** What keeps it from being removed, and the command that mends it. */
  | Blocked;

/** The ids of those parts of a removal that other parts ask for. */
export const PART = { containers: "containers", pool: "subvolumes" } as const;

/** How that is undone which a step made outside the package. */
export interface Removal {
  /**
   * Looks for what is left of it.
   * @param before ids of the parts that go before it and are still there, when this is a plan
   */
  check(host: HostView, degree: Degree, before: ReadonlySet<string>): Promise<RemovalFinding>;
  /** Takes it away; safe to run again after being cut off anywhere. */
  apply(host: Host, degree: Degree, report: Report): Promise<void>;
}

/**
 * One of the twelve parts of an installed node, and the unit of repair.
 * `check` looks, `apply` makes it so, and the same `check` proves it.
 */
export interface Step {
  /** Permanent: it stands in records and on command lines. */
  readonly id: string;
  readonly title: string;
  /** What the specification wants of this step and this version cannot do. */
  readonly notYet: readonly string[];
  /** Looks. A `UserError` that it throws counts as `blocked`. */
  check(host: HostView): Promise<Finding>;
  /** Does what the last check asked for; safe to run again after being cut off anywhere. */
  apply(host: Host, report: Report): Promise<void>;
  /** None where what it made goes with something else. */
  readonly removal?: Removal;
}
