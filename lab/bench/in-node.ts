// Runs in the node, under the program's own Node.js: measures by its clock, prints one JSON document.
import { mkdirSync } from "node:fs";
import { measureBoot } from "./boot.ts";
import { LISTED, measureBatch, measureCold, measureStartUp } from "./create.ts";
import { setUpLxd } from "./lxd.ts";
import { measureScale } from "./scale.ts";
import { measureBuild, measureExport, measureKnown, measureShift, weighTwin } from "./templates.ts";
import { SCRATCH, takeTurns, time } from "./turns.ts";

/** Milliseconds, but for the twin; all that is compared was done in turns. */
export type Samples = Awaited<ReturnType<typeof measure>>;

const REINSTALLS = 11;

async function measure() {
  mkdirSync(SCRATCH, { recursive: true });
  const startUp = await measureStartUp();
  const { reinstall } = await takeTurns(REINSTALLS, { reinstall: () => time("opdbus-pve", "install", "--yes") });
  say("containers");
  const { batch, parts } = await measureBatch();
  say("LXD, from Debian's archive");
  const lxd = setUpLxd();
  const cold = await measureCold();
  const boot = await measureBoot();
  say("templates");
  const shift = await measureShift();
  const twin = weighTwin();
  const { known } = await measureKnown();
  const packed = await measureExport();
  const build = await measureBuild();
  const scale = await measureScale(say);
  return {
    startUp,
    batch,
    parts,
    cold,
    boot,
    reinstall,
    shift,
    twin,
    known,
    packed,
    build,
    scale,
    lxd,
    listed: LISTED,
  };
}

function say(text: string): void {
  process.stderr.write(`bench: ${text}\n`);
}

process.stdout.write(`${JSON.stringify(await measure())}\n`);
