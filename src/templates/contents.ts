import { dirname, join } from "node:path";
import type { Host } from "../host/host.ts";
import { BUILT_FILES, type Definition, isArchive, keyFiles, type PackagesDefinition } from "./definition.ts";

/** What must not be in a template: it would be the same secret, or the same identity, in every clone. */
export const FORBIDDEN: readonly {
  readonly path: string;
  readonly what: string;
  /** In the words of find(1): what there must look like to be one. */
  readonly test?: readonly string[];
}[] = [
  { path: "/etc/ssh/ssh_host_rsa_key", what: "an SSH host key" },
  { path: "/etc/ssh/ssh_host_ecdsa_key", what: "an SSH host key" },
  { path: "/etc/ssh/ssh_host_ed25519_key", what: "an SSH host key" },
  // empty, or the word "uninitialized", it waits for one: machine-id(5)
  { path: "/etc/machine-id", what: "a machine id", test: ["-size", "+14c"] },
  // Debian has a link to the other one here
  { path: "/var/lib/dbus/machine-id", what: "a machine id", test: ["-type", "f", "-size", "+0"] },
  { path: "/var/lib/systemd/random-seed", what: "a random seed" },
  { path: "/var/lib/systemd/credential.secret", what: "a credential key" },
  { path: "/etc/netclient", what: "a Netmaker identity" },
  { path: "/etc/netmaker/join-key", what: "a Netmaker join key" },
];

/** Patterns of what makes a machine itself, and of what it did so far; none of it goes into a template. */
export const IDENTITY: readonly string[] = [
  "/etc/ssh/ssh_host_*",
  "/var/lib/dbus/machine-id",
  "/etc/hostname",
  "/etc/resolv.conf",
  "/var/lib/systemd/random-seed",
  "/var/lib/systemd/credential.secret",
  "/var/log/apt",
  "/var/log/dpkg.log",
  "/var/log/alternatives.log",
  "/var/log/bootstrap.log",
  "/var/cache/ldconfig/aux-cache",
];

interface TemplateFile {
  readonly path: string;
  readonly mode: number;
  readonly content: string;
}

/** The file by which a tree says what it is; see `BUILT_FILES`. */
export function marker(says: {
  readonly name: string;
  readonly version: string;
  readonly suite?: string | undefined;
  readonly definition?: string;
}): TemplateFile {
  return { path: BUILT_FILES.marker, mode: 0o644, content: `${JSON.stringify({ schema: 1, ...says })}\n` };
}

/** The files that are laid over the packages, the script that finishes the template among them. */
export function templateFiles(definition: Definition, suite: string | undefined, version: string): TemplateFile[] {
  return [
    ...definition.files.map(({ path, mode, content }) => ({ path, mode: Number.parseInt(mode, 8), content })),
    ...keyFiles(definition).map(({ path, keys }) => ({ path, mode: 0o600, content: `${keys.join("\n")}\n` })),
    marker({ name: definition.name, version, suite, definition: definition.digest }),
    ...(isArchive(definition)
      ? []
      : [
          { path: BUILT_FILES.locale, mode: 0o644, content: `LANG=${definition.locale}\n` },
          { path: BUILT_FILES.timezone, mode: 0o644, content: `${definition.timezone}\n` },
        ]),
    { path: BUILT_FILES.finish, mode: 0o700, content: finishScript(definition) },
  ];
}

/** Whether a locale is made by locale-gen, of the package `locales`; the others are in libc itself. */
export function hasOwnFiles(locale: string): boolean {
  return !/^(C|POSIX)(\.|$)/.test(locale);
}

function finishScript(definition: Definition): string {
  const { root_ssh_keys, commands } = definition;
  return [
    "#!/bin/sh",
    "set -eu",
    ...(isArchive(definition) ? [] : setUpDebian(definition)),
    ...(root_ssh_keys.length > 0 ? ["chmod 700 /root/.ssh"] : []),
    ...commands,
    // identity and traces of the build: each clone makes its own
    `rm -rf ${IDENTITY.join(" ")}`,
    // empty and not away: without the file, systemd would think of a first boot and enable presets
    isArchive(definition) ? "test ! -e /etc/machine-id || : >/etc/machine-id" : ": >/etc/machine-id",
    `rm -f ${BUILT_FILES.finish}`,
    "",
  ].join("\n");
}

// All names in here were checked by the definition's schema to need no quoting.
function setUpDebian({ users, units, timezone, locale }: PackagesDefinition): string[] {
  return [
    `test -e /usr/share/zoneinfo/${timezone} || { echo "there is no time zone ${timezone}" >&2; exit 1; }`,
    `ln -sfn /usr/share/zoneinfo/${timezone} /etc/localtime`,
    ...(hasOwnFiles(locale)
      ? [`echo "${locale} ${locale.split(".")[1] ?? "ISO-8859-1"}" >>/etc/locale.gen`, "locale-gen >/dev/null"]
      : []),
    ...users.flatMap(({ name, shell, groups, ssh_keys }) => [
      `useradd --create-home --shell ${shell}${groups.length > 0 ? ` --groups ${groups.join(",")}` : ""} -- ${name}`,
      ...(ssh_keys.length > 0 ? [`chown -R ${name}: /home/${name}`, `chmod 700 /home/${name}/.ssh`] : []),
    ]),
    ...units.enable.map((unit) => `systemctl enable --quiet ${unit}`),
    ...units.disable.map((unit) => `systemctl disable --quiet ${unit}`),
    ...units.mask.map((unit) => `systemctl mask --quiet ${unit}`),
  ];
}

/** Files for a tree, and what their archive is like. */
interface Overlay {
  readonly files: readonly TemplateFile[];
  /** Their time stamp, seconds since 1970. */
  readonly epoch: number;
  /** A folder on the host, where nothing but the build looks. */
  readonly scratch: string;
}

/**
 * Packs the files that are laid over a tree.
 * @returns the archive, which only root can open
 */
export async function stageOverlay(host: Host, { files, epoch, scratch }: Overlay): Promise<string> {
  const closed = join(scratch, "overlay");
  const tree = join(closed, "tree");
  const archive = join(closed, "files.tar");
  // a file may be for root's eyes only, and in the archive all can be read
  await host.makeDirectory(closed, { mode: 0o700 });
  await host.makeDirectory(tree, { mode: 0o700 });
  await stageFiles(host, tree, files);
  await host.run([
    "tar",
    "--create",
    "--file",
    archive,
    "--sort=name",
    "--owner=0",
    "--group=0",
    `--mtime=@${epoch}`,
    "--directory",
    tree,
    // files only: folders keep the modes that their packages gave them
    ...files.map(({ path }) => `.${path}`),
  ]);
  return archive;
}

/** Writes the files below a staging folder on the host, where nothing but the build looks. */
export async function stageFiles(host: Host, staging: string, files: readonly TemplateFile[]): Promise<void> {
  for (const { path, mode, content } of files) {
    await host.makeDirectory(dirname(`${staging}${path}`));
    await host.writeText(`${staging}${path}`, content, { mode });
  }
}
