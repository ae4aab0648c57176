import { enableCompileCache } from "node:module";
import { VERSION } from "../version.ts";

// the answer that is asked most often needs no more than this file
if (process.argv[2] === "--version" || process.argv[2] === "-V") {
  // oxlint-disable-next-line no-console -- loading the renderer would cost more than the answer
  console.log(VERSION);
} else {
  // the installed program only: a look from an unpacked tree leaves nothing behind
  if (import.meta.dirname.startsWith("/usr/lib/opdbus-pve/")) enableCompileCache("/var/cache/opdbus-pve");
  const { runProgram } = await import("./program.ts");
  await runProgram(process.argv.slice(2));
}
