import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createRenderer } from "../../src/cli/renderer.ts";
import { type Session, withPatience } from "../../src/cli/session.ts";
import { memoryHost } from "../memory-host.ts";
import type { ReportEvent } from "../../src/report/report.ts";

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

function sessionOn(interactive: boolean): { session: Session; said: ReportEvent[] } {
  const said: ReportEvent[] = [];
  const out = {
    ...createRenderer({ quiet: false, color: false }),
    interactive,
    report: (event: ReportEvent) => void said.push(event),
  };
  return { session: { host: memoryHost(), out, json: false }, said };
}

/** Work that takes so long. */
function work(ms: number): Promise<string> {
  return new Promise((resolve) => setTimeout(() => resolve("done"), ms));
}

test.each([
  ["a terminal", true, ["2 s", "4 s", "6 s"]],
  ["no terminal", false, ["2 s", "6 s"]],
])(
  "work of more than two seconds says on %s that it goes on, and is silent when it is done",
  async (_, tty, details) => {
    const { session, said } = sessionOn(tty);
    const result = withPatience(session, "stop web-01", () => work(6_500));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(await result).toBe("done");
    expect(said).toEqual(details.map((detail) => ({ kind: "progress", task: "stop web-01", detail })));
  },
);

test("quick work says nothing, and a failure is what it was", async () => {
  const { session, said } = sessionOn(true);
  const failing = withPatience(session, "stop web-01", () => work(1_900).then(() => Promise.reject(new Error("no"))));
  const caught = expect(failing).rejects.toThrow("no");
  await vi.advanceTimersByTimeAsync(60_000);
  await caught;
  expect(said).toEqual([]);
});

test("work that says itself how far it is needs no more words, until it says nothing for a while", async () => {
  const { session, said } = sessionOn(true);
  const result = withPatience(session, "import x", async (report) => {
    await work(1_500);
    report({ kind: "progress", task: "importing x", detail: "unpacking" });
    return work(5_000);
  });
  await vi.advanceTimersByTimeAsync(60_000);
  await result;
  expect(said.map((event) => "detail" in event && event.detail)).toEqual(["unpacking", "4 s", "6 s"]);
});
