import { readFileSync } from "node:fs";
import { join } from "node:path";

/** Returns the text of a file of fixtures/. */
export function readFixture(path: string): string {
  return readFileSync(join(import.meta.dirname, "..", "fixtures", path), "utf8");
}
