import type { Samples } from "./in-node.ts";
import type { Part } from "./parts.ts";
import type { Series } from "./turns.ts";

/** Milliseconds, unless the goal is in bytes. */
interface Measured {
  readonly what: string;
  readonly median: number;
  readonly least: number;
  readonly most: number;
  readonly count: number;
}

/** One thing that was measured, held against another or against a time. */
export interface Result {
  readonly id: string;
  readonly measured: Measured;
  readonly baseline: Measured | null;
  /** Measured to baseline, or the other way round where `goal.least` is asked for. */
  readonly ratio: number | null;
  readonly goal:
    | { readonly of: "ratio" | "ms" | "bytes"; readonly most: number }
    | { readonly of: "ratio"; readonly least: number };
  readonly met: boolean;
  /** How far the figure is beyond the goal, in percent of the goal; 0 when it is met. */
  readonly missedByPercent: number;
}

/** Where the time of one container goes; milliseconds. */
export interface Share {
  readonly what: string;
  readonly ms: number;
}

/**
 * Holds what was measured against the goals.
 * @param packageBytes size of the Debian package
 */
export function judge(samples: Samples, packageBytes: number): Result[] {
  const { startUp, cold, batch, boot, reinstall, shift, known, packed, build, listed } = samples;
  const emptyNode = measure("node -e 0", startUp.emptyNode);
  const create = measure("container create, whole command", cold.create);
  const started = measure("container create --start, whole command", boot.started);
  const booted = measure("container create --wait, whole command", boot.booted);
  return [
    against(
      "create-in-batch",
      measure("one more container in a batch", batch.create),
      measure("btrfs subvolume snapshot", batch.snapshotCommand),
      3,
    ),
    within("create-cold", create, 100),
    faster("create-to-unpack", create, measure("tar --zstd -x of the template", cold.unpack), 20),
    faster("create-to-lxd", create, measure("lxc copy (LXD)", cold.lxdCopy), 1),
    faster("start-to-lxd", started, measure("lxc launch (LXD), until its init runs", boot.lxdStarted), 1.5),
    faster("boot-to-lxd", booted, measure("lxc launch (LXD), and the same waiting", boot.lxdBooted), 1.5),
    against("boot-to-bare", booted, measure("snapshot, lxc-start, and the same waiting", boot.bareBooted), 1.2),
    against("version", measure("op-dbus --version", startUp.version), emptyNode, 1.3),
    against("list", measure(`container list of ${listed}`, startUp.list), emptyNode, 2.5),
    within("install-again", measure("second install", reinstall), 1000),
    within("templates-known", measure("seeing that no template is to be built", known), 100),
    against(
      "build-to-mmdebstrap",
      measure("template build, whole command", build.build),
      measure("mmdebstrap of the same packages", build.mmdebstrap),
      1.2,
    ),
    against(
      "export-to-tar",
      measure("template export, whole command", packed.export),
      measure("tar | zstd -T0 of the same tree", packed.tarZstd),
      1.15,
    ),
    against(
      "shift-to-copy",
      measure("template shift, whole command", shift.twin),
      measure("cp -a --reflink=always of the same tree", shift.copy),
      1.5,
    ),
    ...judgeScale(samples),
    {
      ...within("package", measure("the Debian package", [packageBytes]), 45 * 2 ** 20),
      goal: { of: "bytes", most: 45 * 2 ** 20 },
    },
  ];
}

/** Creating must stay flat, and looking grow no worse than with the number of containers. */
function judgeScale({ scale }: Samples): Result[] {
  const [few = 0, some = 0, many = 0] = Object.keys(scale).map(Number);
  const of = (size: number, what: "cold" | "batch" | "list" | "query" | "doctor", name: string) =>
    measure(`${name}, with ${size} containers`, scale[size]?.[what] ?? []);
  const growth = many / some;
  return [
    against(
      "create-at-scale",
      of(many, "batch", "one more container in a batch"),
      of(few, "batch", "one more container in a batch"),
      1.2,
    ),
    against("create-cold-at-scale", of(many, "cold", "container create"), of(few, "cold", "container create"), 1.2),
    against("list-growth", of(many, "list", "container list"), of(some, "list", "container list"), growth),
    within("list-at-scale", of(many, "list", "container list"), 300),
    against("query-growth", of(many, "query", "query"), of(some, "query", "query"), growth),
    within("query-at-scale", of(many, "query", "query"), 300),
    within("doctor-at-scale", of(many, "doctor", "doctor"), 3000),
  ];
}

function against(id: string, measured: Measured, baseline: Measured, most: number): Result {
  const ratio = measured.median / baseline.median;
  return { id, measured, baseline, ratio, goal: { of: "ratio", most }, ...verdict(ratio / most) };
}

function faster(id: string, measured: Measured, baseline: Measured, least: number): Result {
  const ratio = baseline.median / measured.median;
  return { id, measured, baseline, ratio, goal: { of: "ratio", least }, ...verdict(least / ratio) };
}

function within(id: string, measured: Measured, most: number): Result {
  return { id, measured, baseline: null, ratio: null, goal: { of: "ms", most }, ...verdict(measured.median / most) };
}

function verdict(share: number): Pick<Result, "met" | "missedByPercent"> {
  return { met: share <= 1, missedByPercent: share <= 1 ? 0 : Math.round((share - 1) * 100) };
}

function measure(what: string, series: Series): Measured {
  return {
    what,
    median: rounded(median(series)),
    least: rounded(Math.min(...series)),
    most: rounded(Math.max(...series)),
    count: series.length,
  };
}

const PARTS: readonly (readonly [Part, string])[] = [
  ["files", "folder, record and configuration, the files with fsync"],
  ["rename", "rename to its name, with fsync of the folder"],
  ["audit", "outcome in the audit log, a transaction of its own"],
  ["link", "link for LXC's own commands"],
  ["looks", "looks at what is there (stat, readlink, /proc)"],
];

/** Takes the time of one container apart; the last line is what the others leave of it. */
export function breakDown({ batch, parts }: Samples): Share[] {
  const kernel = median(batch.snapshotIoctl);
  const command = median(batch.snapshotCommand);
  const shares = [
    { what: "the kernel's snapshot (the ioctl alone)", ms: kernel },
    { what: "a process for it (the bare command, less the kernel)", ms: command - kernel },
    {
      what: "starting it through execa (the product's call, less the bare command)",
      ms: median(parts.snapshot) - command,
    },
    ...PARTS.map(([part, what]) => ({ what, ms: median(parts[part]) })),
  ];
  const explained = shares.reduce((sum, { ms }) => sum + ms, 0);
  const all = [...shares, { what: "the rest", ms: median(batch.create) - explained }];
  return all.map(({ what, ms }) => ({ what, ms: rounded(ms) }));
}

function rounded(ms: number): number {
  return Math.round(ms * 100) / 100;
}

/** The middle one; the upper of the two in the middle when their number is even. */
function median(series: Series): number {
  return series.toSorted((a, b) => a - b)[Math.floor(series.length / 2)] ?? Number.NaN;
}
