import { parse, TomlError } from "smol-toml";
import type * as z from "zod";
import { EXIT, UserError } from "../host/errors.ts";

/** A table of TOML, not checked yet. */
export type TomlTable = Record<string, unknown>;

/** @throws {UserError} with file, line and column when the text is no TOML */
export function parseToml(text: string, file: string): TomlTable {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const reason = error.message.split("\n")[0]?.replace("Invalid TOML document: ", "");
    throw new UserError(`Unable to read ${file}: line ${error.line}, column ${error.column}: ${reason}`, {
      hint: `correct the line in ${file}`,
      exitCode: EXIT.usage,
      cause: error,
    });
  }
}

/**
 * Checks a table against a schema.
 * @param source the file, its text, and where one sees what is possible
 * @returns the table with its defaults filled in
 * @throws {UserError} with one line for each thing that is wrong
 */
export function checkTable<S extends z.ZodType>(
  schema: S,
  table: TomlTable,
  { text, file, guide }: { readonly text: string; readonly file: string; readonly guide: string },
): z.output<S> {
  const checked = schema.safeParse(table);
  if (checked.success) return checked.data;
  const found = checked.error.issues.flatMap((issue) =>
    issue.code === "unrecognized_keys"
      ? issue.keys.map((key) =>
          problem([...issue.path, key], `unknown key; known here: ${knownKeys(schema, issue.path)}`, text),
        )
      : [problem(issue.path, issue.message, text)],
  );
  throw new UserError(`Unable to use ${file}:\n${found.map((line) => `  ${line}`).join("\n")}`, {
    hint: `correct ${file}; ${guide} shows what is possible`,
    exitCode: EXIT.usage,
  });
}

interface SchemaDef {
  readonly shape?: Readonly<Record<string, z.core.$ZodType>>;
  readonly element?: z.core.$ZodType;
  readonly innerType?: z.core.$ZodType;
}

/** What a schema is made of, behind its defaults and the like. */
function defOf(schema: z.core.$ZodType | undefined): SchemaDef | undefined {
  const def = schema?._zod.def as SchemaDef | undefined;
  return def?.innerType === undefined ? def : defOf(def.innerType);
}

/** The keys that a schema has where an unknown one was found. */
function knownKeys(schema: z.core.$ZodType, path: readonly PropertyKey[]): string {
  let def = defOf(schema);
  for (const part of path) def = defOf(def?.shape?.[String(part)] ?? def?.element);
  return Object.keys(def?.shape ?? {}).join(", ");
}

function problem(path: readonly PropertyKey[], what: string, text: string): string {
  const line = lineOf(path.map(String), text);
  return `${line === undefined ? "" : `line ${line}: `}${path.map(String).join(".") || "the file"}: ${what}`;
}

/** The line on which a key stands, or else its table; 1 is the first. */
function lineOf(path: readonly string[], text: string): number | undefined {
  const places = placesOf(text);
  for (let depth = path.length; depth > 0; depth--) {
    const line = places.get(path.slice(0, depth).join("."));
    if (line !== undefined) return line;
  }
  return undefined;
}

/** Where keys and tables stand plainly: `files.1.path` is the key `path` of the second `[[files]]`. */
function placesOf(text: string): Map<string, number> {
  const places = new Map<string, number>();
  const counts = new Map<string, number>();
  let table = "";
  let quotes: string | undefined;
  for (const [index, line] of text.split("\n").entries()) {
    if (quotes !== undefined) {
      if (line.includes(quotes)) quotes = undefined;
      continue;
    }
    const [, brackets, header] = /^\s*(\[+)\s*([\w.-]+)\s*\]/.exec(line) ?? [];
    const [, key, value = ""] = /^\s*([\w.-]+)\s*=\s*(.*)$/.exec(line) ?? [];
    if (header !== undefined) {
      const count = (counts.get(header) ?? -1) + 1;
      counts.set(header, count);
      table = brackets === "[[" ? `${header}.${count}` : header;
    }
    if (header === undefined && key === undefined) continue;
    const here = [table, key].filter(Boolean).join(".");
    const parents = here.split(".").map((_, depth, parts) => parts.slice(0, depth + 1).join("."));
    for (const each of parents) if (!places.has(each)) places.set(each, index + 1);
    const opened = /^("""|''')/.exec(value)?.[0];
    if (opened !== undefined && !value.slice(3).includes(opened)) quotes = opened;
  }
  return places;
}
