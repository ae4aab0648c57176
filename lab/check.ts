// `npm run check`: what takes seconds, namely static checks and unit tests.
import { addTallies, conclude, runStaticChecks, runTests } from "./tally.ts";

const checks = await runStaticChecks();
conclude(addTallies(checks, await runTests(["unit"], process.argv.slice(2))));
