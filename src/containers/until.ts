const POLL_MS = 20;

/**
 * Looks again and again until something is found or the time is up.
 * @param look gets the milliseconds that are left
 */
export async function until<T>(
  deadlineMs: number,
  look: (leftMs: number) => Promise<T | undefined>,
): Promise<T | undefined> {
  const deadline = performance.now() + deadlineMs;
  for (;;) {
    const left = deadline - performance.now();
    const found = await look(Math.max(1, left));
    if (found !== undefined || left <= 0) return found;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
