import { checkContainerName, checkTemplateName } from "../config/names.ts";
import { publishContainer } from "../containers/publish.ts";
import { requirePool } from "../pool/find-pool.ts";
import { humanBytes } from "../report/bytes.ts";
import { type CommonOptions, recorded, runCommand, withPatience } from "./session.ts";

/** `op-dbus container publish` */
export async function publish(name: string, template: string, options: CommonOptions): Promise<void> {
  await runCommand(options, async (session) => {
    const { host, out, json } = session;
    checkContainerName(name);
    checkTemplateName(template);
    await requirePool(host);
    const manifest = await recorded(
      session,
      "container_publish",
      name,
      { template },
      () => withPatience(session, `publish ${name}`, (report) => publishContainer(host, name, template, report)),
      ({ version, digest }) => ({ version, digest }),
    );
    if (json) return out.json(manifest);
    out.print(`${template} ${manifest.version}: ${humanBytes(manifest.bytes)}, from the container ${name}`);
    out.print(`digest ${manifest.digest}`);
  });
}
