import { createHash } from "node:crypto";
import {
  chmodSync,
  cpSync,
  lutimesSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { execa } from "execa";
import { buildTree } from "./build-tree.ts";
import { copyrightOf } from "./copyright.ts";
import { debianChangelog } from "./debian-changelog.ts";
import { manualPages } from "./manuals.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const STAGE = join(ROOT, "build/deb");
const NAME = "opdbus-pve";
/** Where the program lies on a host. */
const PROGRAM = "usr/lib/opdbus-pve";

/** How a package is built. */
export interface DebOptions {
  /** Seconds since 1970 that every file and the changelog carry (reproducible-builds.org). */
  readonly sourceDateEpoch: number;
  /** `xz` for what is handed out: Debian 12's lintian rejects zstd. `none` takes no time and six times the room. */
  readonly compression: "xz" | "none";
  /** That of package.json unless given. */
  readonly version?: string;
  /** Where the package goes, in build/; build/ itself unless given. */
  readonly folder?: string;
}

/**
 * Builds the Debian package: the program, what packaging/root holds, and what
 * Debian's policy asks for. The same source gives the same bytes.
 * @returns the package's file
 */
export async function buildDeb({ sourceDateEpoch, compression, version, folder = "" }: DebOptions): Promise<string> {
  const tree = await buildTree(version);
  rmSync(STAGE, { recursive: true, force: true });
  cpSync(join(ROOT, "packaging/root"), STAGE, { recursive: true });
  cpSync(tree.path, join(STAGE, PROGRAM), { recursive: true });
  for (const command of ["op-dbus", NAME]) link(`../lib/${NAME}/${command}`, `usr/bin/${command}`);
  link("op-dbus", `usr/share/bash-completion/completions/${NAME}`);
  // lxc-create -t debian-base
  for (const file of readdirSync(join(ROOT, "templates"))) {
    link("lxc-op-dbus", `usr/share/lxc/templates/lxc-${basename(file, ".toml")}`);
  }
  const read = (path: string) => readFileSync(join(ROOT, path), "utf8");
  const pages = manualPages({
    version: tree.version,
    date: sourceDateEpoch,
    settings: read("packaging/opdbus.toml"),
    architecture: read("docs/architecture.md"),
  });
  const doc = `usr/share/doc/${NAME}`;
  write(`${doc}/copyright`, copyrightOf(tree.parts));
  const changelog = debianChangelog(read("CHANGELOG.md"), sourceDateEpoch);
  write(`${doc}/changelog.gz`, gzipSync(changelog, { level: 9 }));
  write(`usr/share/lintian/overrides/${NAME}`, read("packaging/debian/lintian-overrides"));
  for (const [page, text] of Object.entries(pages)) {
    write(`usr/share/man/man${page.at(-1)}/${page}.gz`, gzipSync(text, { level: 9 }));
  }

  const files = filesOf(STAGE);
  const sums = files.filter(isPlain).map((path) => `${md5(path)}  ${relative(STAGE, path)}\n`);
  const kibibytes = files.reduce((sum, path) => sum + Math.ceil(lstatSync(path).size / 1024), 0);
  const control = read("packaging/debian/control");
  const filled = control.replace("@VERSION@", tree.version).replace("@SIZE@", String(kibibytes));
  write("DEBIAN/control", filled);
  write("DEBIAN/md5sums", sums.join(""));
  for (const script of ["preinst", "postinst", "prerm", "postrm"]) {
    write(`DEBIAN/${script}`, read(`packaging/debian/${script}`));
  }
  normalise(sourceDateEpoch);
  mkdirSync(join(ROOT, "build", folder), { recursive: true });
  const deb = join(ROOT, "build", folder, `${NAME}_${tree.version}_amd64.deb`);
  // threads of xz decide how the stream is cut, and with that the bytes
  const argv = ["--root-owner-group", `-Z${compression}`, "--threads-max=2", "--build", STAGE, deb];
  await execa("dpkg-deb", argv, { env: { SOURCE_DATE_EPOCH: String(sourceDateEpoch) } });
  return deb;
}

function link(target: string, path: string): void {
  mkdirSync(dirname(join(STAGE, path)), { recursive: true });
  symlinkSync(target, join(STAGE, path));
}

function write(path: string, content: string | Uint8Array): void {
  mkdirSync(dirname(join(STAGE, path)), { recursive: true });
  writeFileSync(join(STAGE, path), content);
}

/** Files and links, sorted by path. */
function filesOf(folder: string): string[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted();
}

function isPlain(path: string): boolean {
  return lstatSync(path).isFile();
}

function md5(path: string): string {
  return createHash("md5").update(readFileSync(path)).digest("hex");
}

/** The modes that Debian's policy wants whatever the umask of this checkout was, and one time for all. */
function normalise(epoch: number): void {
  const entries = readdirSync(STAGE, { recursive: true, withFileTypes: true });
  for (const path of [...entries.map((entry) => join(entry.parentPath, entry.name)), STAGE]) {
    const found = lstatSync(path);
    if (found.isDirectory()) chmodSync(path, 0o755);
    else if (found.isFile()) chmodSync(path, isProgram(relative(STAGE, path)) ? 0o755 : 0o644);
    else if (!found.isSymbolicLink() || readlinkSync(path) === "") throw new Error(`${path} cannot be packaged`);
    lutimesSync(path, epoch, epoch);
  }
}

function isProgram(path: string): boolean {
  return (
    [`${PROGRAM}/bin/node`, `${PROGRAM}/op-dbus`, `${PROGRAM}/${NAME}`].includes(path) ||
    path.startsWith("usr/share/lxc/templates/") ||
    /^DEBIAN\/(preinst|postinst|prerm|postrm)$/.test(path)
  );
}

/** The time of the commit that is built, unless SOURCE_DATE_EPOCH names another. */
async function epochOfSource(): Promise<number> {
  const given = process.env["SOURCE_DATE_EPOCH"];
  if (given !== undefined) return Number(given);
  const { stdout } = await execa("git", ["-C", ROOT, "log", "-1", "--format=%ct"]);
  return Number(stdout);
}

if (import.meta.main) {
  process.stderr.write("building the package; compressing it takes half a minute\n");
  const deb = await buildDeb({ sourceDateEpoch: await epochOfSource(), compression: "xz" });
  const digest = createHash("sha256").update(readFileSync(deb)).digest("hex");
  process.stdout.write(`${digest}  ${deb}\n`);
}
