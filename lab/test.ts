// `npm test`: static checks and all tests. `npm test -- FILTER…`: only tests whose file matches.
import { addTallies, conclude, runStaticChecks, runTests, type Tally } from "./tally.ts";

const filters = process.argv.slice(2);
const none: Tally = { passed: 0, failed: 0, skipped: 0 };
const checks = filters.length > 0 ? none : await runStaticChecks();
conclude(addTallies(checks, await runTests(["unit", "e2e", "vm"], filters)));
