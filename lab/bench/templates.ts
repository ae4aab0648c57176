// Templates: building, packing, twins with shifted ids, and seeing that there is nothing to do.
import { join } from "node:path";
import { templatesStep } from "../../src/install/steps/templates.ts";
import { localHost } from "../../src/host/local-host.ts";
import { readDefinition } from "../../src/templates/definition.ts";
import { findSource } from "../../src/templates/source.ts";
import { next, POOL, run, SCRATCH, settled, takeTurns, TEMPLATE, time } from "./turns.ts";

const NAME = "debian-base";
const ROUNDS = { build: 4, known: 21, export: 6, shift: 6 };
const MIRRORS = { mirror: "auto", securityMirror: "auto" };

/** What the twin of a template takes that the template does not take already; bytes. */
export interface Twin {
  /** As `btrfs filesystem du` says. */
  readonly exclusive: number;
  /** By how much the metadata of the pool grew. */
  readonly metadata: number;
}

/** `template build` against mmdebstrap of the same packages from the same mirrors, into a subvolume. */
export async function measureBuild() {
  const host = localHost(new AbortController().signal);
  const definition = await readDefinition(host, NAME);
  const source = await findSource(host, definition, MIRRORS);
  if (source.type !== "packages" || !("packages" in definition)) throw new Error(`${NAME} is not built from packages`);
  const { variant } = definition.source;
  const what = [`--variant=${variant}`, `--include=${definition.packages.join(",")}`, "--format=dir"];
  return takeTurns(ROUNDS.build, {
    build: () => settled(time("op-dbus", "template", "build", NAME, "--quiet")),
    mmdebstrap: () => {
      const into = join(SCRATCH, next("plain"));
      time("btrfs", "subvolume", "create", into);
      return settled(time("mmdebstrap", "--quiet", ...what, "--", source.suite, into, ...source.lines));
    },
  });
}

/** How long the installer's step of templates looks until it knows that nothing is to be done; without the process. */
export function measureKnown() {
  const host = localHost(new AbortController().signal);
  const step = templatesStep([NAME], MIRRORS);
  return takeTurns(ROUNDS.known, {
    known: async () => {
      const began = performance.now();
      const { state } = await step.check(host);
      if (state !== "ok") throw new Error(`the template ${NAME} is ${state}`);
      return [performance.now() - began];
    },
  });
}

/** `template export` against tar and zstd with all threads and the same attributes. */
export function measureExport() {
  const folder = "/root";
  const tar = `tar --numeric-owner --acls --xattrs -C ${TEMPLATE} -c .`;
  return takeTurns(ROUNDS.export, {
    export: () => settled(time("op-dbus", "template", "export", NAME, "--output", join(folder, "export.tar.zst"))),
    tarZstd: () => settled(time("sh", "-c", `${tar} | zstd -T0 --quiet --force -o ${join(folder, "plain.tar.zst")}`)),
  });
}

export function measureShift() {
  return takeTurns(ROUNDS.shift, {
    twin: () => settled(time("op-dbus", "template", "shift", NAME, "--id-start", nextIdStart())),
    copy: () => settled(time("cp", "--archive", "--reflink=always", TEMPLATE, join(SCRATCH, next("copied")))),
  });
}

let idStart = 1_000_000;

/** One at which there is no twin yet. */
function nextIdStart(): string {
  idStart += 65_536;
  return String(idStart);
}

export function weighTwin(): Twin {
  time("sync");
  const before = metadataUsed();
  const { stdout } = run("op-dbus", "template", "shift", NAME, "--id-start", nextIdStart(), "--json");
  time("sync");
  const { path } = JSON.parse(stdout) as { path: string };
  const usage = run("btrfs", "filesystem", "du", "--summarize", "--raw", path).stdout;
  return {
    exclusive: Number(usage.trim().split("\n").at(-1)?.trim().split(/\s+/)[1]),
    metadata: metadataUsed() - before,
  };
}

function metadataUsed(): number {
  return Number(/^Metadata.* used=(\d+)$/m.exec(run("btrfs", "filesystem", "df", "--raw", POOL).stdout)?.[1]);
}
