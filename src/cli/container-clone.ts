import { checkContainerName, checkSnapshotName } from "../config/names.ts";
import { cloneContainer, leftOut, withOriginal } from "../containers/clone.ts";
import { copyContainer } from "../containers/copy.ts";
import { readConfig } from "../containers/describe.ts";
import { linesNaming } from "../containers/lxc-config.ts";
import { renameContainer } from "../containers/rename.ts";
import { EXIT, UserError } from "../host/errors.ts";
import { requirePool } from "../pool/find-pool.ts";
import { humanBytes } from "../report/bytes.ts";
import { checkNewNames, makeEach } from "./container-create.ts";
import { sayWhatIsNotInIt } from "./container-snapshot.ts";
import { type CommonOptions, recorded, runCommand, withPatience } from "./session.ts";

interface CloneOptions extends CommonOptions {
  readonly snapshot?: string;
  readonly start?: boolean;
  readonly wait?: boolean;
}

/** `op-dbus container clone` */
export async function clone(name: string, names: readonly string[], options: CloneOptions): Promise<void> {
  await runCommand(options, async (session) => {
    const { host, out } = session;
    checkContainerName(name);
    checkNewNames(names);
    if (names.includes(name))
      throw new UserError(`${name} is to be cloned, so no clone can have its name`, { exitCode: EXIT.usage });
    if (options.snapshot !== undefined) checkSnapshotName(options.snapshot);
    const from = options.snapshot === undefined ? {} : { snapshot: options.snapshot };
    await withOriginal(host, name, options.snapshot, (original) =>
      makeEach(session, names, options, {
        operation: "container_clone",
        details: { from: name, ...from },
        from: options.snapshot === undefined ? name : `${name}, snapshot ${options.snapshot}`,
        make: (one) => cloneContainer(host, one, original),
        warn: () => {
          const without = leftOut(original).join(", ");
          const text = `no two containers may have it, so a clone goes without: ${without}`;
          if (without !== "") out.report({ kind: "warn", text });
          const shared = linesNaming(original.state.config, original.state.record.name);
          if (shared.length > 0) {
            const lines = shared.map((line) => `\n  ${line}`).join("");
            out.report({
              kind: "warn",
              text: `lines of yours name the folder of ${name}, which the clone shares so: ${lines}`,
            });
          }
        },
      }),
    );
    if (options.snapshot === undefined) await sayWhatIsNotInIt(session, name);
  });
}

/** `op-dbus container rename` */
export async function rename(name: string, to: string, options: CommonOptions): Promise<void> {
  await runCommand(options, async (session) => {
    const { host, out, json } = session;
    checkContainerName(name);
    checkContainerName(to);
    if (name === to) throw new UserError(`${name} is called so already`, { exitCode: EXIT.usage });
    await requirePool(host);
    await withPatience(session, `rename ${name}`, () =>
      recorded(session, "container_rename", name, { to }, () => renameContainer(host, name, to)),
    );
    if (json) out.json({ schema: 1, containers: [{ name: to, result: "renamed", from: name }] });
    else out.print(`${name}: is ${to} now`);
    const stray = linesNaming(await readConfig(host, to), name);
    if (stray.length > 0) {
      const text = `lines of yours in the configuration of ${to} name the old folder: ${stray.map((line) => `\n  ${line}`).join("")}`;
      out.report({ kind: "warn", text });
    }
  });
}

/** `op-dbus container copy` */
export async function copy(
  name: string,
  options: CommonOptions & { readonly to: string; readonly name?: string },
): Promise<void> {
  await runCommand(options, async (session) => {
    const { host, out, json } = session;
    checkContainerName(name);
    const as = checkContainerName(options.name ?? name);
    const pool = options.to.replace(/(?<=.)\/+$/, "");
    const { path, bytes } = await recorded(
      session,
      "container_copy",
      name,
      { to: pool, name: as },
      () => copyContainer(host, { name, pool, as }, out.report),
      ({ bytes: sent }) => ({ bytes: sent }),
    );
    if (json) out.json({ schema: 1, containers: [{ name: as, result: "copied", path, bytes }] });
    else out.print(`${name}: copied to ${path}, ${humanBytes(bytes)}`);
    await sayWhatIsNotInIt(session, name);
  });
}
