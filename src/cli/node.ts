import { loadSettings } from "../config/load-settings.ts";
import { sizeBytes as bytesOf } from "../config/settings.ts";
import { examine } from "../doctor/examine.ts";
import { humanBytes } from "../report/bytes.ts";
import { describeContainers } from "../containers/describe.ts";
import { EXIT, UserError } from "../host/errors.ts";
import { installSteps } from "../install/install-steps.ts";
import { readMarker } from "../install/steps/marker.ts";
import { queryState, saveState } from "../plugins/state.ts";
import { requirePool } from "../pool/find-pool.ts";
import { poolUsage, type PoolUsage, subvolumeUsage } from "../pool/usage.ts";
import { describeTemplates } from "../templates/describe.ts";
import { VERSION } from "../version.ts";
import { asTyped } from "./typed.ts";
import { type CommonOptions, runCommand, type Session, withPatience } from "./session.ts";

/** `op-dbus status` */
export async function status(options: CommonOptions): Promise<void> {
  await runCommand(options, async (session) => {
    const { host, out, json } = session;
    const installed = (await readMarker(host)) ?? null;
    const pool = (await poolUsage(host)) ?? null;
    const inside = pool === null ? undefined : await lookInside(session);
    const { subvolumes = null, templates = null, containers = null } = inside ?? {};
    if (json) out.json({ schema: 1, version: VERSION, installed, pool, subvolumes, templates, containers });
    else {
      const since = installed === null ? "not installed" : `installed ${installed.installed_at}`;
      out.print(`opdbus-pve ${VERSION} on ${host.name}: ${since}`);
    }
    // says why there is none: not made, or not mounted
    if (pool === null || inside === undefined) return requirePool(host);
    if (!json) showPool(session, pool, inside);
  });
}

async function lookInside(session: Session) {
  const { host } = session;
  return {
    subvolumes: await withPatience(session, "measure the pool", () => subvolumeUsage(host)),
    templates: await describeTemplates(host),
    containers: await describeContainers(host),
  };
}

type Inside = Awaited<ReturnType<typeof lookInside>>;

function showPool({ out }: Session, pool: PoolUsage, { subvolumes, templates, containers }: Inside): void {
  const used = pool.totalBytes - pool.freeBytes;
  out.print(
    `pool: ${pool.path}, ${pool.kind}, ${humanBytes(used)} of ${humanBytes(pool.totalBytes)} used, compressed with zstd:${pool.levelInForce} (one level for all)`,
  );
  out.print("");
  out.table(
    ["SUBVOLUME", "SIZE", "ON DISK", "RATIO", "ASKED", "PURPOSE"],
    subvolumes.map(({ name, sizeBytes, usedBytes, wantedLevel, purpose }) => [
      name,
      sizeBytes === undefined ? "?" : humanBytes(sizeBytes),
      usedBytes === undefined ? "?" : humanBytes(usedBytes),
      sizeBytes && usedBytes !== undefined ? `${Math.round((usedBytes / sizeBytes) * 100)} %` : "-",
      `zstd:${wantedLevel}`,
      purpose,
    ]),
  );
  out.print("(What subvolumes share, such as a container with its template, counts in each.)");
  for (const why of new Set(subvolumes.flatMap(({ unmeasured }) => unmeasured ?? []))) {
    const mend = why.endsWith("command not found") ? ": apt-get install btrfs-compsize" : "";
    out.report({ kind: "warn", text: `not everything was measured: ${why}${mend}` });
  }
  out.print("");
  const built = templates.map(({ name, current }) => `${name} ${current ?? "without a current version"}`);
  out.print(`templates: ${built.join(", ") || "none"}`);
  const running = containers.filter((container) => container.running).length;
  out.print(`containers: ${containers.length}, ${running} running`);
}

/** `op-dbus doctor`: every step's check and what else can be wrong; exit code 4 when something is to be done. */
export async function doctor(options: CommonOptions & { readonly config?: string }): Promise<void> {
  await runCommand(options, async (session) => {
    const { host, out, json } = session;
    const settings = await loadSettings(host, options.config);
    const { device, size } = settings.pool;
    const steps = installSteps(settings, {
      ...(size === undefined ? {} : { sizeBytes: bytesOf(size) }),
      ...(device === undefined ? {} : { device }),
    });
    const findings = await examine(host, steps);
    if (json) out.json({ schema: 1, findings });
    else {
      const words = { ok: "ok", later: "not yet", change: "to do", blocked: "BAD", waits: "?" };
      for (const { code, state, what, mend, notYet } of findings) {
        out.print(`${words[state].padEnd(8)}${code}: ${what}`);
        for (const missing of notYet) out.print(`${" ".repeat(8)}- not yet: ${missing}`);
        if (mend !== null) out.print(`${" ".repeat(8)}→ ${asTyped(mend).split("\n").join("\n          ")}`);
      }
    }
    if (findings.some(({ state }) => state === "change" || state === "blocked")) process.exitCode = EXIT.pending;
  });
}

/** `op-dbus query` */
export async function query(options: CommonOptions & { readonly save?: boolean }): Promise<void> {
  await runCommand(options, async ({ host, out }) => {
    if (options.save) await requirePool(host);
    const state = options.save ? await saveState(host) : await queryState(host);
    if (!options.save) out.json(state);
    if (state.errors) throw new UserError(`These parts could not be read: ${Object.keys(state.errors).join(", ")}`);
  });
}
