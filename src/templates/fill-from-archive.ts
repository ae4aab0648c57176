import { join } from "node:path";
import type { Argv, Host } from "../host/host.ts";
import { publicAddress } from "../host/public-address.ts";
import { HOST_STATE, TEMPLATES } from "../paths.ts";
import { sayWhileWaiting } from "../report/patience.ts";
import type { Report } from "../report/report.ts";
import { obtainAndTell, requireDigest, screenFile } from "./archive.ts";
import { stageOverlay, templateFiles } from "./contents.ts";
import { type ArchiveDefinition, BUILT_FILES } from "./definition.ts";
import type { Fill } from "./fill-rootfs.ts";
import { makeWorkshop, MAPPED } from "./scratch.ts";
import type { Source } from "./source.ts";
import { PACK_OPTIONS, unpackArgv, UNPACK_OPTIONS } from "./tree-archive.ts";

/** Downloads, finished or not, in a folder for each template. */
const DOWNLOADS = `${HOST_STATE}/downloads`;

/** Space that stays free, whatever comes in. */
export const RESERVE = 64 * 2 ** 20;

type ArchiveSource = Extract<Source, { type: "archive" }>;

/**
 * Brings the archive of a template here. What came of it at an earlier attempt
 * counts, and is kept until a version was made of it (`forgetArchive`).
 * @returns where it lies
 * @throws {UserError} with exit code 5 when it is not the one that was wanted
 */
async function bringArchive(host: Host, name: string, { url, sha256 }: ArchiveSource, report: Report): Promise<string> {
  const folder = join(DOWNLOADS, name);
  await host.makeDirectory(HOST_STATE, { mode: 0o711 });
  for (const each of [DOWNLOADS, folder]) await host.makeDirectory(each, { mode: 0o700 });
  // of an archive that is not wanted any more
  for (const other of (await host.list(folder)) ?? []) if (other !== sha256) await host.remove(join(folder, other));
  const path = join(folder, sha256);
  if ((await host.digest(path)) === sha256) return path;
  const isPart = (await host.stat(path)) !== undefined;
  const task = `downloading ${publicAddress(url)}`;
  const obtain = async () => {
    // what is here of it already needs no room any more
    const have = (await host.stat(path))?.size ?? 0;
    const limit = (await host.space(folder)).free - RESERVE + have;
    return obtainAndTell(host, { source: url, path, limit, task }, report);
  };
  let got = await obtain();
  if (got.sha256 !== sha256 && isPart) {
    // the beginning may be of another file than the rest
    await host.remove(path);
    got = await obtain();
  }
  if (got.sha256 !== sha256) await host.remove(path);
  requireDigest(publicAddress(url), got.sha256, sha256);
  return path;
}

/** Removes a template's archive, which a version was made of. */
export async function forgetArchive(host: Host, name: string): Promise<void> {
  await host.remove(join(DOWNLOADS, name));
}

// As root of a user namespace: unpacks the archive, lays our files (descriptor 3) over it, runs the script that finishes it, and
// packs the result. What is mounted for the script is gone with its namespace.
const FINISH = `set -eu
root=$(mktemp -d "$1/root.XXXXXX")
chmod 755 "$root"
$2 | tar --extract --directory "$root" ${UNPACK_OPTIONS.join(" ")} >&2
tar --extract --directory "$root" --numeric-owner --preserve-permissions --no-overwrite-dir --file=- <&3 >&2
exec 3<&-
mkdir -p "$root/dev" "$root/proc"
rm -f "$root/etc/resolv.conf"
if test -r /etc/resolv.conf; then cat /etc/resolv.conf >"$root/etc/resolv.conf"; fi
unshare --mount -- sh -c 'set -e
  for device in null zero full random urandom; do
    : >"$1/dev/$device"
    mount --bind "/dev/$device" "$1/dev/$device"
  done
  mount --rbind /proc "$1/proc"
  exec chroot "$1" "$2"' sh "$root" ${BUILT_FILES.finish} </dev/null >&2
rm -f "$root/dev/null" "$root/dev/zero" "$root/dev/full" "$root/dev/random" "$root/dev/urandom"
shift 2
exec tar --create --file=- --directory "$root" "$@" .`;

/**
 * Fills an empty subvolume from an archive and with a definition's files. Its
 * commands run as those of a build from packages do: as the root of a user
 * namespace, so that a bad one cannot reach the host, and dies with us.
 * @throws {CommandFailed} see `explainFailure`
 */
export async function fillFromArchive(
  host: Host,
  { definition, source, version, epoch, scratch, rootfs }: Fill<ArchiveDefinition, ArchiveSource>,
  report: Report,
): Promise<void> {
  const task = `building ${definition.name}`;
  const path = await bringArchive(host, definition.name, source, report);
  report({ kind: "progress", task, detail: "looking through the archive" });
  const limit = (await host.space(TEMPLATES)).free - RESERVE;
  const { decompress } = await screenFile(host, path, { source: publicAddress(source.url), limit });
  const overlay = await stageOverlay(host, { files: templateFiles(definition, undefined, version), epoch, scratch });
  const workshop = await makeWorkshop(host, scratch);
  // both archives are for root alone to open
  const opening = 'archive=$1 overlay=$2; shift 2; exec "$@" <"$archive" 3<"$overlay"';
  const opened = ["sh", "-c", opening, "sh", path, overlay] as const;
  const alone = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
  const finish = ["sh", "-c", FINISH, "sh", workshop, decompress.join(" ")];
  const packing = [...PACK_OPTIONS, `--mtime=@${epoch}`, "--clamp-mtime"];
  // once more inside: the kernel forgets what is to be sent at our death when --setuid changes who we are
  const mortal = ["setpriv", "--pdeathsig", "KILL", "--"] as const;
  const apart = [...mortal, "unshare", ...MAPPED, ...alone, "--", ...mortal];
  const build: Argv = [...opened, ...apart, ...finish, ...packing];
  const say = (detail: string) => report({ kind: "progress", task, detail });
  say("unpacking, and running its commands");
  const stop = sayWhileWaiting((seconds) => say(`unpacking, and running its commands, ${seconds} s`));
  try {
    await host.pipe(build, unpackArgv(rootfs), { env: { TMPDIR: workshop } });
  } finally {
    stop();
  }
}
