import type { HostView } from "../../host/host.ts";
import { SOCKETS } from "../../paths.ts";
import { requirePool } from "../../pool/find-pool.ts";
import { changesNeeded, type Step } from "../step.ts";

const GROUP = "opdbus";

/**
 * The folders of the specification, owned by root:opdbus. Its mode 0770 would
 * let every member of the group replace a socket with his own, and shut out
 * the mapped root of a container, so: members look and connect, guests pass.
 */
const FOLDERS: readonly { readonly path: string; readonly mode: number }[] = [
  { path: SOCKETS, mode: 0o751 },
  { path: `${SOCKETS}/containers`, mode: 0o751 },
  { path: `${SOCKETS}/plugins`, mode: 0o750 },
  { path: `${SOCKETS}/api`, mode: 0o750 },
];

/** Step 8: the group opdbus and the folders for sockets. */
export function socketsStep(): Step {
  return {
    id: "sockets",
    title: "Set up the socket folders",
    notYet: ["the units opdbus.socket and socket networking"],
    async check(host) {
      const gid = await groupId(host);
      const changes = gid === undefined ? [`Create the system group ${GROUP}`] : [];
      for (const { path, mode } of FOLDERS) {
        const found = await host.stat(path);
        const octal = mode.toString(8).padStart(4, "0");
        if (found === undefined) changes.push(`Create ${path} (root:${GROUP}, ${octal})`);
        else if (found.mode !== mode || found.uid !== 0 || found.gid !== gid) {
          changes.push(`Set ${path} to root:${GROUP}, ${octal}`);
        }
      }
      return changesNeeded(changes);
    },
    async apply(host) {
      await requirePool(host);
      // made by the package, and somebody may have removed it since
      if ((await groupId(host)) === undefined) await host.run(["systemd-sysusers", "opdbus.conf"]);
      const gid = await groupId(host);
      for (const { path, mode } of FOLDERS)
        await host.makeDirectory(path, { mode, uid: 0, ...(gid === undefined ? {} : { gid }) });
    },
  };
}

async function groupId(host: HostView): Promise<number | undefined> {
  // getent also knows groups of LDAP and the like
  const found = await host.probe(["getent", "group", GROUP]);
  const id = found.stdout.split(":")[2];
  return found.exitCode === 0 && id !== undefined ? Number(id) : undefined;
}
