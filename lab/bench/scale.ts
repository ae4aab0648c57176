// What changes with the number of containers on one pool.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { createBatch } from "./create.ts";
import { create, destroy, next, nextOnes, POOL, run, type Series, settled, takeTurns, time } from "./turns.ts";

const SIZES = [10, 100, 1000] as const;
const ROUNDS = 11;
const BATCH = 25;

/** With a number of containers on the pool. */
export interface Scale {
  /** A whole command that makes one more. */
  readonly cold: Series;
  /** One more of a command that makes many. */
  readonly batch: Series;
  readonly list: Series;
  readonly query: Series;
  readonly doctor: Series;
}

/** The same with 10, 100 and 1,000 containers; those that were there before are destroyed first. */
export async function measureScale(say: (text: string) => void): Promise<Record<number, Scale>> {
  const found: Record<number, Scale> = {};
  const folder = join(POOL, "@containers");
  destroy(readdirSync(folder));
  for (const size of SIZES) {
    say(`${size} containers on one pool`);
    const missing = size - readdirSync(folder).length;
    time(...create(nextOnes("many", missing)));
    await settled(0);
    const looks = await takeTurns(ROUNDS, {
      list: () => time("op-dbus", "container", "list"),
      query: () => time("op-dbus", "query"),
      doctor: () => time("op-dbus", "doctor"),
    });
    const listed = JSON.parse(run("op-dbus", "container", "list", "--json").stdout) as { containers: unknown[] };
    if (listed.containers.length !== size) throw new Error(`${listed.containers.length} of ${size} are listed`);
    const extra: string[] = [];
    const { cold } = await takeTurns(ROUNDS, {
      cold: () => {
        extra.push(next("extra"));
        return time(...create(extra.slice(-1)));
      },
    });
    const batch = nextOnes("batch", BATCH);
    found[size] = { ...looks, cold, batch: await createBatch(batch) };
    destroy([...extra, ...batch]);
  }
  return found;
}
