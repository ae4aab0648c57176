import { EXIT, UserError } from "./errors.ts";
import type { Host } from "./host.ts";

const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 250;

/**
 * Looks again and again, at ever longer intervals, until something is found or the time is up.
 * @param look gets the milliseconds that are left
 * @returns what was found; undefined when nothing was
 */
export async function until<T>(
  deadlineMs: number,
  look: (leftMs: number) => Promise<T | undefined>,
): Promise<T | undefined> {
  const deadline = performance.now() + deadlineMs;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 1.5, LONGEST_PAUSE_MS)) {
    const left = deadline - performance.now();
    const found = await look(Math.max(1, left));
    if (found !== undefined || left <= 0) return found;
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

/** What holds a lock for a moment is soon over. */
const SOON_MS = 10_000;

/**
 * Does something under a lock that others hold for moments only: waits for it.
 * @param holder what others are told who meet the lock
 * @throws {UserError} with exit code 6 when others hold it for longer
 */
export async function holdingSoon<T>(host: Host, path: string, holder: string, use: () => Promise<T>): Promise<T> {
  let refused: unknown;
  const release = await until(SOON_MS, () =>
    host.lock(path, holder).catch((error: unknown) => {
      if (!(error instanceof UserError) || error.exitCode !== EXIT.busy) throw error;
      refused = error;
      return undefined;
    }),
  );
  if (release === undefined) throw refused;
  try {
    return await use();
  } finally {
    await release();
  }
}
