const PATIENCE_MS = 2000;

/**
 * Says after two seconds that work goes on, and again and again until the
 * returned function is called.
 * @param say gets the seconds since the start
 * @param lengthen by how much each interval is longer than the one before
 */
export function sayWhileWaiting(say: (seconds: number) => void, lengthen = 2): () => void {
  const started = performance.now();
  let timer: NodeJS.Timeout | undefined;
  const sayLater = (delayMs: number) => {
    timer = setTimeout(() => {
      say(Math.round((performance.now() - started) / 1000));
      sayLater(delayMs * lengthen);
    }, delayMs);
  };
  sayLater(PATIENCE_MS);
  return () => clearTimeout(timer);
}
