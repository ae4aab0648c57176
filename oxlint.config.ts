import { readdirSync } from "node:fs";
import { join } from "node:path";
import { defineConfig, type OxlintOverride } from "oxlint";

/** The folders of src, and those that each may import from besides itself: imports point down. */
const LAYERS: Readonly<Record<string, readonly string[]>> = {
  host: [],
  audit: ["host"],
  report: [],
  config: ["host"],
  pool: ["host", "report"],
  templates: ["host", "report", "config", "pool"],
  containers: ["host", "report", "config", "pool", "templates"],
  plugins: ["host", "report", "pool", "templates", "containers"],
  install: ["host", "report", "config", "pool", "templates", "containers", "plugins", "audit"],
  doctor: ["host", "report", "pool", "templates", "containers", "install", "audit"],
  cli: ["host", "report", "config", "pool", "templates", "containers", "plugins", "install", "doctor", "audit"],
};

/** They know nothing of this program: not where things lie on a node (paths.ts), nor its version. */
const LOWEST = new Set(["host", "audit", "report"]);

/** What lies outside, and the only folders that touch it. */
const OUTSIDE: Readonly<Record<string, readonly string[]>> = {
  "node:child_process": ["host"],
  execa: ["host"],
  "node:fs": ["host", "audit"],
  "node:fs/promises": ["host"],
  "better-sqlite3": ["audit"],
  "node:sqlite": [],
  "node:http": [],
  "node:https": [],
};

/** The walls around one folder. */
function walls(folder: string): OxlintOverride {
  const allowed = [folder, ...(LAYERS[folder] ?? [])];
  const closed = Object.keys(LAYERS).filter((other) => !allowed.includes(other));
  const paths = Object.entries(OUTSIDE).flatMap(([name, users]) =>
    users.includes(folder) ? [] : [{ name, message: `open to ${users.join(" and ") || "nobody"}` }],
  );
  const group = [...closed.map((other) => `**/${other}/**`), ...(LOWEST.has(folder) ? ["../*.ts"] : [])];
  const patterns = [{ group, message: `imports point down: src/${folder} imports only from ${allowed.join(", ")}` }];
  return {
    files: [`src/${folder}/**/*.ts`],
    rules: { "no-restricted-imports": ["error", { paths, patterns }] },
  };
}

const folders = readdirSync(join(import.meta.dirname, "src"), { withFileTypes: true });
const unknown = folders.filter((entry) => entry.isDirectory() && !(entry.name in LAYERS)).map(({ name }) => name);
if (unknown.length > 0) throw new Error(`oxlint.config.ts does not say what src/${unknown.join(", src/")} may import`);

export default defineConfig({
  plugins: ["typescript", "unicorn", "oxc", "import", "promise"],
  categories: { correctness: "error", suspicious: "error", perf: "error" },
  env: { node: true, es2026: true },
  ignorePatterns: ["build", ".cache"],
  rules: {
    "no-console": "error",
    "no-var": "error",
    "prefer-const": "error",
    eqeqeq: "error",
    "max-lines": ["error", { max: 300, skipBlankLines: true, skipComments: true }],
    "max-lines-per-function": ["error", { max: 80, skipBlankLines: true, skipComments: true }],
    "import/no-cycle": "error",
    "import/no-default-export": "error",
    "typescript/no-explicit-any": "error",
    "typescript/no-floating-promises": "error",
    "typescript/no-misused-promises": "error",
    "typescript/await-thenable": "error",
    "typescript/switch-exhaustiveness-check": "error",
    "typescript/consistent-type-imports": "error",
    "no-restricted-globals": ["error", { name: "fetch", message: "only src/pve and downloads in src/host speak HTTP" }],
    "no-await-in-loop": "off",
    "no-underscore-dangle": "off",
    "typescript/no-unsafe-type-assertion": "off",
  },
  overrides: [
    ...Object.keys(LAYERS).map(walls),
    {
      files: ["test/**/*.ts", "lab/**/*.ts", "packaging/**/*.ts"],
      rules: {
        "max-lines-per-function": "off",
        "max-lines": "off",
        "no-restricted-globals": "off",
        "unicorn/consistent-function-scoping": "off",
      },
    },
    { files: ["*.config.ts"], rules: { "import/no-default-export": "off" } },
  ],
});
