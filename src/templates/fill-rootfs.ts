import { CommandFailed } from "../host/command-failed.ts";
import { Interrupted, UserError } from "../host/errors.ts";
import type { Argv, Host } from "../host/host.ts";
import { sayWhileWaiting } from "../report/patience.ts";
import type { Report } from "../report/report.ts";
import { hasOwnFiles, stageOverlay, templateFiles } from "./contents.ts";
import { BUILT_FILES, type Definition, type PackagesDefinition } from "./definition.ts";
import { makeWorkshop } from "./scratch.ts";
import type { Source } from "./source.ts";
import { unpackArgv } from "./tree-archive.ts";

/** What goes into an empty root file system. */
export interface Fill<Made extends Definition, From> {
  readonly definition: Made;
  readonly source: From;
  readonly version: string;
  /** Clamps every time stamp, seconds since 1970. */
  readonly epoch: number;
  /** A folder of `inScratch`. */
  readonly scratch: string;
  readonly rootfs: string;
}

/**
 * Fills an empty subvolume with a definition's packages and files.
 *
 * Packages' scripts run as the root of a user namespace (mmdebstrap's mode
 * `unshare`), so that a bad one cannot reach the host; the tree comes out as
 * a tar stream. The whole of it dies with us: SIGKILL to this process reaches
 * `unshare`, and through it all processes and mounts of the build.
 * @throws {CommandFailed} see `explainFailure`
 */
export async function fillRootfs(
  host: Host,
  {
    definition,
    source,
    version,
    epoch,
    scratch,
    rootfs,
  }: Fill<PackagesDefinition, Extract<Source, { type: "packages" }>>,
  report: Report,
): Promise<void> {
  const workshop = await makeWorkshop(host, scratch);
  const archive = await stageOverlay(host, { files: templateFiles(definition, source.suite, version), epoch, scratch });
  const packages = [...definition.packages, ...(hasOwnFiles(definition.locale) ? ["locales"] : [])];
  const build: Argv = [
    "setpriv",
    "--pdeathsig",
    "KILL",
    "--",
    "unshare",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "--",
    "mmdebstrap",
    "--mode=unshare",
    "--format=tar",
    `--variant=${definition.source.variant}`,
    ...(packages.length > 0 ? [`--include=${packages.join(",")}`] : []),
    `--customize-hook=tar-in ${archive} /`,
    `--customize-hook=chroot "$1" ${BUILT_FILES.finish}`,
    "--",
    source.suite,
    "-",
    ...source.lines,
  ];
  const phases = followPhases(`building ${definition.name}`, report);
  try {
    await host.pipe(build, unpackArgv(rootfs), {
      env: {
        SOURCE_DATE_EPOCH: String(epoch),
        TMPDIR: workshop,
        // dpkg need not sync each file (dpkg(1)): what a power cut ends is thrown away, and the version is synced whole
        DPKG_FORCE: "unsafe-io",
      },
      onLine: phases.hear,
    });
  } finally {
    phases.end();
  }
}

/** What mmdebstrap says as it goes, and how far along that is (shares of a build that was timed). */
const PHASES: readonly (readonly [start: string, fraction: number])[] = [
  ["I: running apt-get update", 0.02],
  ["I: downloading packages", 0.08],
  ["I: extracting archives", 0.25],
  ["I: installing essential packages", 0.35],
  ["I: installing remaining packages", 0.5],
  ["I: running --customize-hook", 0.8],
  ["I: cleaning package lists", 0.85],
  ["I: creating tarball", 0.87],
];

interface Phases {
  readonly hear: (line: string) => void;
  readonly end: () => void;
}

/** Reports each phase that mmdebstrap says it begins, and that it goes on when it takes long. */
function followPhases(task: string, report: Report): Phases {
  let stopWaiting: (() => void) | undefined;
  const hear = (line: string) => {
    const phase = PHASES.find(([start]) => line.startsWith(start));
    if (phase === undefined) return;
    const said = line.slice("I: ".length).split(":")[0] ?? "";
    const detail = said.replace(/\.\.\.$/, "");
    const progress = { kind: "progress", task, fraction: phase[1] } as const;
    stopWaiting?.();
    stopWaiting = sayWhileWaiting((seconds) => report({ ...progress, detail: `${detail}, ${seconds} s` }));
    report({ ...progress, detail });
  };
  return { hear, end: () => stopWaiting?.() };
}

/** What made a build fail, for people; an error that is not that of a command comes back as it is. */
export function explainFailure(error: unknown, definition: Definition, source: Source): unknown {
  if (error instanceof Interrupted || !(error instanceof CommandFailed)) return error;
  const said = error.result.stderr.trim().split("\n");
  const lastWords = said.filter((line) => !/^(I:|W:|E: setup failed|E: mmdebstrap failed|$)/.test(line)).slice(-8);
  const reason = lastWords.length > 0 ? lastWords.map((line) => `\n  ${line.trim()}`).join("") : ` ${error.message}`;
  const message = `Unable to build the template ${definition.name}:${reason}`;
  if (said.some((line) => line.includes("No space left"))) {
    return new UserError(message, { hint: "op-dbus status   # shows what fills the pool", cause: error });
  }
  if (said.some((line) => /Failed to fetch|Could not (connect|resolve)|E: .*apt-get .*update/.test(line))) {
    const mirrors = source.type === "packages" ? source.lines.join("\n                    ") : "those of its own";
    const key =
      "distribution" in definition.source && definition.source.distribution === "ubuntu" ? "ubuntu_mirror" : "mirror";
    return new UserError(`${message}\n  the mirrors were: ${mirrors}`, {
      hint: `check the address and the way to it; [templates] ${key} = "…" in /etc/opdbus/opdbus.toml chooses another`,
      cause: error,
    });
  }
  return new UserError(message, {
    hint: `op-dbus template build ${definition.name}   # after a look at ${definition.file}`,
    cause: error,
  });
}
