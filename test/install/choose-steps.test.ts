import { expect, test } from "vitest";
import { memoryHost } from "../memory-host.ts";
import { chooseSteps, findLacking } from "../../src/install/choose-steps.ts";
import type { Finding } from "../../src/install/step.ts";
import { stepOf } from "./step-of.ts";

const CHANGE: Finding = { state: "change", changes: ["Do it"] };
const host = memoryHost();

/** Twelve steps in small: one, two, three, and the marker. */
function steps(findings: { one?: Finding; two?: Finding; three?: Finding } = {}) {
  const ok: Finding = { state: "ok" };
  const { one = ok, two = ok, three = ok } = findings;
  return [stepOf("one", [one]), stepOf("two", [two]), stepOf("three", [three]), stepOf("installed", [CHANGE])];
}

const ids = (found: readonly { id: string }[]) => found.map(({ id }) => id);

test.each([
  [{}, ["one", "two", "three", "installed"]],
  [{ only: ["three", "one"] }, ["one", "three"]],
  [{ skip: ["two"] }, ["one", "three", "installed"]],
  [{ only: ["one", "two"], skip: ["two"] }, ["one"]],
  [{ skip: ["installed"] }, ["one", "two", "three"]],
])("of a host that lacks nothing, %j chooses %j, in the order of the list", async (filter, chosen) => {
  const choice = await chooseSteps(steps(), host, filter);
  expect(ids(choice.steps)).toEqual(chosen);
  expect(ids(choice.leftOut)).toEqual(["one", "two", "three", "installed"].filter((id) => !chosen.includes(id)));
});

test.each([
  [CHANGE],
  [{ state: "blocked", reason: "no disk", hint: "buy one" } satisfies Finding],
  [{ state: "waits", reason: "no pool", hint: "mount it" } satisfies Finding],
])("a host is not marked as installed while a step that is left out finds %j", async (finding) => {
  const choice = await chooseSteps(steps({ two: finding }), host, { skip: ["two"] });
  expect(ids(choice.steps)).toEqual(["one", "three"]);
  const lacking = await findLacking(choice.leftOut, host);
  expect(lacking.map(({ step }) => step.id)).toEqual(["two", "installed"]);
});

test("what this version cannot do is nothing that a host lacks", async () => {
  const choice = await chooseSteps(steps({ two: { state: "later" } }), host, { skip: ["two"] });
  expect(ids(choice.steps)).toEqual(["one", "three", "installed"]);
  expect(await findLacking(choice.leftOut, host)).toEqual([]);
});

test("the marker alone is refused on a host that lacks something, and given to one that does not", async () => {
  const filter = { only: ["installed"] };
  expect(ids((await chooseSteps(steps(), host, filter)).steps)).toEqual(["installed"]);
  await expect(chooseSteps(steps({ one: CHANGE, three: CHANGE }), host, filter)).rejects.toMatchObject({
    message: expect.stringContaining("one, three"),
    exitCode: 3,
  });
});

test.each([
  [{ only: ["four"] }, "There is no step four"],
  [{ skip: ["one", "five"] }, "There is no step five"],
  [{ only: ["one"], skip: ["one"] }, "No step is left"],
])("refuses %j", async (filter, message) => {
  await expect(chooseSteps(steps(), host, filter)).rejects.toMatchObject({
    message: expect.stringContaining(message),
    exitCode: 2,
  });
});
