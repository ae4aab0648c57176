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
