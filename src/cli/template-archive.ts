import { resolve } from "node:path";
import { checkTemplateName, checkTemplateVersion, SHA256 } from "../config/names.ts";
import { EXIT, UserError } from "../host/errors.ts";
import { requirePool } from "../pool/find-pool.ts";
import { humanBytes } from "../report/bytes.ts";
import { exportTemplate } from "../templates/export.ts";
import { importTemplate } from "../templates/import.ts";
import { type CommonOptions, recorded, runCommand, withPatience } from "./session.ts";

interface ExportOptions extends CommonOptions {
  readonly templateVersion?: string;
  readonly output?: string;
}

/** `op-dbus template export` */
export async function exportArchive(name: string, options: ExportOptions): Promise<void> {
  await runCommand(options, async (session) => {
    const { host, out, json } = session;
    checkTemplateName(name);
    const { templateVersion, output } = options;
    const toStdout = output === "-";
    if (toStdout && (json || process.stdout.isTTY)) {
      throw new UserError("Standard output cannot take the archive: it is a terminal, or takes JSON", {
        hint: `op-dbus template export ${name} --output FILE`,
        exitCode: EXIT.usage,
      });
    }
    await requirePool(host);
    const wanted = {
      name,
      ...(templateVersion === undefined ? {} : { version: checkTemplateVersion(templateVersion) }),
      ...(output === undefined ? {} : { output: toStdout ? output : resolve(output) }),
    };
    const done = await recorded(
      session,
      "template_export",
      name,
      { output: wanted.output ?? process.cwd() },
      () => exportTemplate(host, wanted, out.report),
      ({ version, digest, sha256 }) => ({ version, digest, sha256: sha256 ?? null }),
    );
    if (json) return out.json({ schema: 1, ...done });
    if (toStdout) return out.report({ kind: "say", text: `${name} ${done.version}: digest ${done.digest}` });
    out.print(`${done.file}: ${name} ${done.version}, ${humanBytes(done.bytes ?? 0)}`);
    out.print(`sha256 ${done.sha256}`);
  });
}

interface ImportOptions extends CommonOptions {
  readonly name: string;
  readonly sha256?: string;
}

/** `op-dbus template import` */
export async function importArchive(file: string, options: ImportOptions): Promise<void> {
  await runCommand(options, async (session) => {
    const { host, out, json } = session;
    const name = checkTemplateName(options.name);
    const sha256 = checkedSha256(options.sha256);
    if (file === "-" && process.stdin.isTTY) {
      throw new UserError("Standard input is a terminal, and no archive", {
        hint: `op-dbus template import - --name ${name} <FILE`,
        exitCode: EXIT.usage,
      });
    }
    await requirePool(host);
    const source = file === "-" ? file : resolve(file);
    const { manifest } = await recorded(
      session,
      "template_import",
      name,
      { source },
      () =>
        withPatience(session, `import ${name}`, (report) =>
          importTemplate(host, { name, source, ...(sha256 && { sha256 }) }, report),
        ),
      // of the file that was read, also when a version with the same content was there
      (imported) => ({
        version: imported.manifest.version,
        digest: imported.manifest.digest,
        sha256: imported.sha256,
      }),
    );
    if (json) return out.json(manifest);
    out.print(`${name} ${manifest.version}: ${humanBytes(manifest.bytes)}, from ${file}`);
    out.print(`digest ${manifest.digest}`);
  });
}

/** @throws {UserError} with exit code 2 when the text is no SHA-256 */
export function checkedSha256(text: string | undefined): string | undefined {
  const digest = text?.toLowerCase();
  if (digest === undefined || SHA256.test(digest)) return digest;
  throw new UserError(`--sha256 is ${JSON.stringify(text)}`, {
    hint: "--sha256 takes 64 of 0-9 and a-f, as sha256sum prints them",
    exitCode: EXIT.usage,
  });
}
