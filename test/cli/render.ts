// Renders what its argument says: a list of a renderer's method and what it is given.
import { createRenderer } from "../../src/cli/renderer.ts";
import { UserError } from "../../src/host/errors.ts";

const [calls = "[]", options = "{}"] = process.argv.slice(2);
const HINT = "op-dbus status; opdbus-pve install --pool-size 20G\nls opdbus-pve";
const out = createRenderer({ quiet: false, color: true, ...(JSON.parse(options) as object) });
for (const [method, value] of JSON.parse(calls) as [string, unknown][]) {
  if (method === "report") out.report(value as Parameters<typeof out.report>[0]);
  if (method === "print") out.print(String(value));
  if (method === "table") out.table((value as string[][])[0] ?? [], (value as string[][]).slice(1));
  if (method === "json") out.json(value);
  if (method === "fail") out.fail(new UserError(String(value), { hint: HINT }), true);
  if (method === "bug") out.fail(new Error(String(value)), false);
}
