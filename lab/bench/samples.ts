/** Milliseconds, one for each time that something was done, in the order it was done. */
export type Series = number[];

/** What was measured in the node; all that is compared was done in turns. */
export interface Samples {
  readonly startUp: Record<"spawn" | "emptyNode" | "version" | "list", Series>;
  readonly cold: Record<"create" | "unpack", Series>;
  readonly batch: Record<"create" | "snapshotCommand" | "snapshotIoctl", Series>;
  /** Of each container that the product's own functions made in one process. */
  readonly parts: Record<Part, Series>;
  readonly reinstall: Series;
  readonly containersListed: number;
}

export type Part = "files" | "snapshot" | "rename" | "link" | "audit" | "looks";

/** The middle one; the upper of the two in the middle when their number is even. */
export function median(series: Series): number {
  return series.toSorted((a, b) => a - b)[Math.floor(series.length / 2)] ?? Number.NaN;
}
