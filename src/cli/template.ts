import { EXIT, UserError } from "../host/errors.ts";
import { ID_RANGE_SIZE, LAST_ID } from "../config/limits.ts";
import { checkTemplateName, checkTemplateVersion } from "../config/names.ts";
import { mirrorsIn } from "../config/settings.ts";
import { loadSettings } from "../config/load-settings.ts";
import { requirePool } from "../pool/find-pool.ts";
import { buildTemplate } from "../templates/build.ts";
import { listDefinitions, readDefinition } from "../templates/definition.ts";
import { describeTemplates, type TemplateSummary } from "../templates/describe.ts";
import { listVersions, type Origin, readManifest, requireTemplate, requireVersion } from "../templates/manifest.ts";
import { findTwin, listAllTwins, shiftTemplate } from "../templates/shifted.ts";
import { removeTemplate, type TreeVerdict, useVersion, type Verdict, verifyTemplate } from "../templates/versions.ts";
import { humanBytes } from "../report/bytes.ts";
import { wholeNumber } from "./numbers.ts";
import { checkedSha256 } from "./template-archive.ts";
import { type CommonOptions, confirm, recorded, recordedAnyway, runCommand, withPatience } from "./session.ts";

/** `op-dbus template build` */
export async function build(
  name: string,
  options: CommonOptions & { readonly suite?: string; readonly sha256?: string },
): Promise<void> {
  await runCommand(options, async (session) => {
    const { host, out, json } = session;
    await requirePool(host);
    const settings = await loadSettings(host);
    const definition = await readDefinition(host, checkTemplateName(name));
    const { keep } = settings.templates;
    const sha256 = checkedSha256(options.sha256);
    const request = {
      ...(options.suite === undefined ? {} : { suite: options.suite }),
      ...(sha256 === undefined ? {} : { sha256 }),
      ...mirrorsIn(settings),
      keep,
      ...sourceDateEpoch(),
    };
    const { manifest, pruned: removed } = await recorded(
      session,
      "template_build",
      name,
      { definition: definition.digest },
      () => buildTemplate(host, definition, request, out.report),
      ({ manifest: { version, digest }, pruned }) => ({ version, digest, pruned: [...pruned] }),
    );
    if (json) return out.json({ ...manifest, pruned: removed });
    out.print(
      `${name} ${manifest.version}: ${manifest.suite ?? "from an archive"}, ${Object.keys(manifest.packages).length} packages, ${humanBytes(manifest.bytes)}, built in ${manifest.buildSeconds} s`,
    );
    out.print(`digest ${manifest.digest}`);
    if (removed.length > 0) out.print(`removed ${removed.join(", ")}: [templates] keep is ${keep}`);
  });
}

function sourceDateEpoch(): { sourceDateEpoch?: number } {
  const text = process.env["SOURCE_DATE_EPOCH"];
  if (text === undefined || text === "") return {};
  if (!/^\d{1,11}$/.test(text)) {
    throw new UserError(`SOURCE_DATE_EPOCH is ${JSON.stringify(text)}, which is no number of seconds`, {
      exitCode: EXIT.usage,
    });
  }
  return { sourceDateEpoch: Number(text) };
}

/** `op-dbus template list` */
export async function list(options: CommonOptions): Promise<void> {
  await runCommand(options, async ({ host, out, json }) => {
    await requirePool(host);
    const templates = await describeTemplates(host);
    const defined = (await listDefinitions(host)).filter((name) => !templates.some((each) => each.name === name));
    const unbuilt = defined.map((name): TemplateSummary => ({ name, current: null, versions: [] }));
    const all = [...templates, ...unbuilt].toSorted((one, other) => (one.name < other.name ? -1 : 1));
    if (json) return out.json({ schema: 1, templates: all });
    out.table(
      ["TEMPLATE", "CURRENT", "SUITE", "SIZE", "VERSIONS"],
      all.map(({ name, current, suite, bytes, versions }) => [
        name,
        current ?? (versions.length > 0 ? "none" : "not built"),
        suite ?? "-",
        bytes === undefined ? "-" : humanBytes(bytes),
        String(versions.length),
      ]),
    );
    for (const { broken } of templates) if (broken !== undefined) out.report({ kind: "warn", text: broken });
  });
}

/** `op-dbus template show` */
export async function show(name: string, options: CommonOptions & { readonly packages?: boolean }): Promise<void> {
  await runCommand(options, async ({ host, out, json }) => {
    checkTemplateName(name);
    await requirePool(host);
    const version = await requireVersion(host, name);
    const manifest = await readManifest(host, name, version);
    const versions = await listVersions(host, name);
    const twins = await listAllTwins(host, name);
    if (json) return out.json({ ...manifest, versions: versions.map((each) => each.version), twins });
    const { packages, origin, ...facts } = manifest;
    for (const [key, value] of Object.entries(facts))
      out.print(`${key.padEnd(16)}  ${key === "bytes" ? humanBytes(Number(value)) : String(value)}`);
    if (origin) out.print(`${"origin".padEnd(16)}  ${describeOrigin(origin)}`);
    out.print(`${"packages".padEnd(16)}  ${Object.keys(packages).length}`);
    out.print(
      `${"versions".padEnd(16)}  ${versions.map((each) => `${each.version}${each.current ? " (current)" : ""}`).join(", ")}`,
    );
    for (const twin of twins)
      out.print(`${"twin".padEnd(16)}  ${twin.version}, ids from ${twin.idStart}, ${twin.path}`);
    if (options.packages) out.table(["PACKAGE", "VERSION"], Object.entries(packages));
  });
}

function describeOrigin(origin: Origin): string {
  if (origin.type === "archive") return `${origin.url}, sha256 ${origin.sha256}`;
  if (origin.type === "container") return `the container ${origin.container}`;
  const claims = origin.claims && `, which says it is ${origin.claims.name} ${origin.claims.version}`;
  return `${origin.file}, sha256 ${origin.sha256}${claims ?? ""}`;
}

interface VersionOption {
  readonly templateVersion?: string;
}

function checkedVersion({ templateVersion }: VersionOption): string | undefined {
  return templateVersion === undefined ? undefined : checkTemplateVersion(templateVersion);
}

/** `op-dbus template verify`: exit code 5 when the content is not what was sealed. */
export async function verify(name: string, options: CommonOptions & VersionOption): Promise<void> {
  await runCommand(options, async (session) => {
    const { host, out, json } = session;
    checkTemplateName(name);
    const version = checkedVersion(options);
    await requirePool(host);
    const verdict = await withPatience(session, `verify ${name}`, () => verifyTemplate(host, name, version));
    if (json) out.json({ schema: 1, ...verdict });
    if (!verdict.ok) throw notWhatWasBuilt(verdict);
    if (json) return;
    out.print(`${name} ${verdict.version}: sealed and unchanged, digest ${verdict.found}`);
    for (const { idStart } of verdict.twins) out.print(`its twin with ids from ${idStart}: the same`);
  });
}

function notWhatWasBuilt({ name, version, sealed, wanted, found, twins }: Verdict): UserError {
  const why = (tree: Pick<TreeVerdict, "sealed" | "found">) =>
    tree.sealed ? `its digest is ${tree.found}, and was ${wanted}` : "it is not sealed (read-only) any more";
  const twin = twins.find(({ ok }) => !ok);
  if (twin === undefined || !sealed || found !== wanted) {
    return new UserError(`The template ${name} ${version} is not what was built: ${why({ sealed, found })}`, {
      hint: `op-dbus template use ${name} VERSION   # another one; op-dbus template show ${name} lists them`,
      exitCode: EXIT.unverified,
    });
  }
  const anew = `op-dbus template shift ${name} --template-version ${version} --id-start ${twin.idStart}`;
  return new UserError(
    `The twin of ${name} ${version} with ids from ${twin.idStart} is not what was made: ${why(twin)}`,
    {
      hint: `btrfs property set ${twin.path} ro false; ${anew}   # makes it anew`,
      exitCode: EXIT.unverified,
    },
  );
}

// below are the ids of the host's own users, and of containers without a range
const LEAST_START = ID_RANGE_SIZE;

/** `op-dbus template shift` */
export async function shift(
  name: string,
  options: CommonOptions & VersionOption & { readonly idStart: string },
): Promise<void> {
  await runCommand(options, async (session) => {
    const { host, out, json } = session;
    checkTemplateName(name);
    const idStart = wholeNumber("--id-start", options.idStart, LEAST_START, LAST_ID - ID_RANGE_SIZE + 1);
    await requirePool(host);
    const version = await requireVersion(host, name, checkedVersion(options));
    const found = await findTwin(host, name, version, idStart);
    const make = () =>
      recorded(session, "template_shift", name, { version, idStart }, () =>
        shiftTemplate(host, name, version, idStart),
      );
    const twin = found ?? (await withPatience(session, `shift ${name}`, make));
    const result = found === undefined ? "made" : "found";
    if (json) return out.json({ schema: 1, name, ...twin, result });
    out.print(
      `${name} ${version} with ids from ${idStart}: ${found === undefined ? "made" : "is there"}, ${twin.path}`,
    );
  });
}

/** `op-dbus template use` */
export async function use(name: string, version: string, options: CommonOptions): Promise<void> {
  await runCommand(options, async (session) => {
    const { host, out, json } = session;
    checkTemplateName(name);
    checkTemplateVersion(version);
    await requirePool(host);
    await recorded(session, "template_use", name, { version }, () => useVersion(host, name, version));
    if (json) return out.json({ schema: 1, name, version });
    out.print(`${name}: ${version} is the current version`);
  });
}

/** `op-dbus template remove` */
export async function remove(
  name: string,
  options: CommonOptions & VersionOption & { readonly yes?: boolean },
): Promise<void> {
  await runCommand(options, async (session) => {
    const { host, out, json } = session;
    checkTemplateName(name);
    await requirePool(host);
    const version = checkedVersion(options);
    await requireTemplate(host, name, version);
    const which = `${name}${version === undefined ? " with all its versions" : ` ${version}`}`;
    await confirm(session, {
      question: `Remove the template ${which}? Containers made from it stay.`,
      yes: options.yes,
    });
    const removed = await recordedAnyway(session, "template_remove", name, { version: version ?? "all" }, () =>
      removeTemplate(host, name, version),
    );
    if (json) return out.json({ schema: 1, name, removed });
    out.print(`${name}: removed ${removed.join(", ")}`);
  });
}
