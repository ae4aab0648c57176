import { loadSettings } from "../config/load-settings.ts";
import { checkTemplateName } from "../config/names.ts";
import { mirrorsIn } from "../config/settings.ts";
import { EXIT, Interrupted, UserError } from "../host/errors.ts";
import { requirePool } from "../pool/find-pool.ts";
import { listTemplates, requireTemplate } from "../templates/manifest.ts";
import { findRefreshable, type Refreshed, refreshTemplate } from "../templates/refresh.ts";
import { pruneTemplate, surplusVersions } from "../templates/versions.ts";
import { wholeNumber } from "./numbers.ts";
import { describeError } from "./renderer.ts";
import { type CommonOptions, confirm, recorded, recordedAnyway, runCommand, type Session } from "./session.ts";

/** The templates that were named, or all that there are. */
async function chosen({ host }: Session, names: readonly string[]): Promise<string[]> {
  for (const name of names) checkTemplateName(name);
  await requirePool(host);
  for (const name of names) await requireTemplate(host, name);
  return names.length > 0 ? [...new Set(names)] : listTemplates(host);
}

interface PruneOptions extends CommonOptions {
  readonly keep?: string;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

/** `op-dbus template prune` */
export async function prune(names: readonly string[], options: PruneOptions): Promise<void> {
  await runCommand(options, async (session) => {
    const { host, out, json } = session;
    const templates = await chosen(session, names);
    const keep =
      options.keep === undefined
        ? (await loadSettings(host)).templates.keep
        : wholeNumber("--keep", options.keep, 1, 100);
    const surplus: { name: string; versions: string[] }[] = [];
    for (const name of templates) surplus.push({ name, versions: await surplusVersions(host, name, keep) });
    const some = surplus.filter(({ versions }) => versions.length > 0);
    if (!options.dryRun && some.length > 0) {
      const what = some.map(({ name, versions }) => `${name} ${versions.join(", ")}`).join("; ");
      await confirm(session, { question: `Remove ${what}? Containers made from them stay.`, yes: options.yes });
    }
    const results: ({ name: string; removed: string[] } | Failed)[] = [];
    const verb = options.dryRun ? "would remove" : "removed";
    for (const { name, versions } of surplus) {
      await unlessFailed(session, name, results, async () => {
        const remove = () => pruneTemplate(host, name, { keep, versions });
        const removed =
          options.dryRun || versions.length === 0
            ? versions
            : await recordedAnyway(session, "template_prune", name, { keep, versions }, remove);
        results.push({ name, removed });
        if (!json)
          out.print(`${name}: ${removed.length === 0 ? "nothing to remove" : `${verb} ${removed.join(", ")}`}`);
      });
    }
    if (json) out.json({ schema: 1, keep, dryRun: options.dryRun ?? false, templates: results });
  });
}

interface Failed {
  readonly name: string;
  readonly result: "failed";
  readonly error: ReturnType<typeof describeError>;
}

/** One template that fails does not keep the others from their turn; the exit code is that of the first that did. */
async function unlessFailed(
  { out, json }: Session,
  name: string,
  results: object[],
  work: () => Promise<void>,
): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (error instanceof Interrupted || !(error instanceof UserError)) throw error;
    results.push({ name, result: "failed", error: describeError(error) });
    process.exitCode ??= error.exitCode;
    if (!json) out.fail(error, false);
  }
}

/** `op-dbus template refresh` */
export async function refresh(names: readonly string[], options: CommonOptions): Promise<void> {
  await runCommand(options, async (session) => {
    const { host, out, json } = session;
    const templates = await chosen(session, names);
    const settings = await loadSettings(host);
    const request = { ...mirrorsIn(settings), keep: settings.templates.keep };
    if (templates.length === 0) throw new UserError("There is no template", { exitCode: EXIT.unsupported });
    const results: (Refreshed | Failed)[] = [];
    for (const name of templates) {
      await unlessFailed(session, name, results, async () => {
        const found = await findRefreshable(host, name);
        const done: Refreshed =
          "reason" in found
            ? { name, result: "left alone", ...found }
            : await recorded(
                session,
                "template_refresh",
                name,
                { definition: found.definition.digest },
                () => refreshTemplate(host, found, request, out.report),
                ({ result, version, pruned = [] }) => ({ result, version: version ?? null, pruned: [...pruned] }),
              );
        results.push(done);
        if (!json) out.print(toLine(done));
      });
    }
    if (json) out.json({ schema: 1, templates: results });
  });
}

function toLine({ name, result, version, reason, pruned = [] }: Refreshed): string {
  const gone = pruned.length > 0 ? `; removed ${pruned.join(", ")}` : "";
  return `${name}: ${result}${reason === undefined ? `, ${version}` : `: ${reason}`}${gone}`;
}
