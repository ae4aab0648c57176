import { describe, expect, test } from "vitest";
import { memoryHost } from "../memory-host.ts";
import { applySteps, planSteps, type Recorder, refuseBlocked } from "../../src/install/run-steps.ts";
import type { Finding } from "../../src/install/step.ts";
import { stepOf } from "./step-of.ts";

const CHANGE: Finding = { state: "change", changes: ["Do it"] };

const OK: Finding = { state: "ok" };

function blocked(reason: string, hint: string): Finding {
  return { state: "blocked", reason, hint };
}

function recorderInto(log: string[]): Recorder {
  return async (operation, target, details, change) => {
    log.push(`begin ${operation} ${target} ${JSON.stringify(details)}`);
    await change();
    log.push(`end ${target}`);
  };
}

test("looks at every step and applies none", async () => {
  const log: string[] = [];
  const plan = await planSteps([stepOf("one", [CHANGE], log), stepOf("two", [OK], log)], memoryHost());
  expect(plan.map(({ finding }) => finding.state)).toEqual(["change", "ok"]);
  expect(log).toEqual(["check one", "check two"]);
});

test("refuses a plan with all that is missing at once, each hint once", async () => {
  const steps = [
    stepOf("one", [blocked("no disk", "buy one")]),
    stepOf("two", [CHANGE]),
    stepOf("three", [blocked("no net", "apt-get install net")]),
    stepOf("four", [blocked("no disk either", "buy one")]),
  ];
  const plan = await planSteps(steps, memoryHost());
  expect(() => refuseBlocked(plan)).toThrow(
    expect.objectContaining({
      exitCode: 3,
      message:
        "Unable to install on this host; nothing was changed:\n  one: no disk\n  three: no net\n  four: no disk either",
      hint: "buy one\napt-get install net",
    }),
  );
  expect(() => refuseBlocked(plan.filter(({ finding }) => finding.state !== "blocked"))).not.toThrow();
});

describe("applying", () => {
  test("checks, records, applies and checks again, one step after the other", async () => {
    const log: string[] = [];
    const said: string[] = [];
    const outcomes = await applySteps(
      [
        stepOf("one", [CHANGE, OK], log),
        stepOf("two", [OK], log),
        stepOf("three", [{ state: "later" }], log),
        stepOf("four", [CHANGE, OK], log),
      ],
      memoryHost(),
      (event) => said.push(event.kind === "say" ? event.text : event.kind),
      recorderInto(log),
    );
    expect(log).toEqual([
      "check one",
      'begin install_step one {"changes":["Do it"]}',
      "apply one",
      "check one",
      "end one",
      "check two",
      "check three",
      "check four",
      'begin install_step four {"changes":["Do it"]}',
      "apply four",
      "check four",
      "end four",
    ]);
    expect(outcomes).toEqual([
      { id: "one", outcome: "changed", changes: ["Do it"] },
      { id: "two", outcome: "already", changes: [] },
      { id: "three", outcome: "later", changes: [] },
      { id: "four", outcome: "changed", changes: ["Do it"] },
    ]);
    expect(said).toEqual(["[1/4] Title of one", "[4/4] Title of four"]);
  });

  test.each([
    ["does not find its own work done", [CHANGE], () => {}, "Step bad ran, but this is still to be done: Do it"],
    [
      "is blocked by what it did",
      [CHANGE, blocked("it broke", "mend it")],
      () => {},
      "Unable to go on with step bad: it broke",
    ],
    [
      "is blocked by what an earlier one left",
      [blocked("no room", "mend it")],
      () => {},
      "Unable to go on with step bad: no room",
    ],
    [
      "fails",
      [CHANGE, OK],
      () => {
        throw new Error("boom");
      },
      "boom",
    ],
  ])("stops at a step that %s", async (_, answers, apply, message) => {
    const log: string[] = [];
    const steps = [stepOf("bad", answers, log, apply), stepOf("next", [CHANGE, OK], log)];
    await expect(applySteps(steps, memoryHost(), () => {}, recorderInto(log))).rejects.toThrow(message);
    expect(log.filter((line) => line.endsWith("next") || line.startsWith("end"))).toEqual([]);
  });
});
