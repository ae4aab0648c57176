import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import type { AuditLog } from "../../src/audit/audit-log.ts";
import { type Actor, record, recordAll } from "../../src/audit/record.ts";
import { Interrupted, UserError } from "../../src/host/errors.ts";
import { entry, tempLog } from "./temp-log.ts";

const actor: Actor = { user: "root", sudoUser: "anna", pid: 4711, node: "pve1" };
const create = { operation: "container_create", target: "web-01", metadata: { memoryMiB: 512 } };

/** The rows after genesis, without hashes and times. */
function told(log: AuditLog): unknown[] {
  return log
    .recent({})
    .slice(1)
    .map(({ id, operation, target, metadata }) => ({ id, operation, target, metadata }));
}

const intent = {
  id: 1,
  operation: "container_create",
  target: "web-01",
  metadata: { memoryMiB: 512, status: "started", actor },
};
const outcome = (metadata: object) => ({
  id: 2,
  operation: "container_create",
  target: "web-01",
  metadata: { intent: 1, durationMs: expect.any(Number), ...metadata },
});

/** Gives a log that is open anyway, and leaves it open. */
function opener(log: AuditLog): () => AuditLog {
  return () => ({ ...log, close: () => {} });
}

function throwAtOnce(): never {
  throw new Error("at once");
}

describe("record", () => {
  test("writes the intent before the action and the outcome after it", async () => {
    const { log } = tempLog();
    const result = await record(opener(log), create, actor, async () => {
      expect(told(log)).toEqual([intent]);
      expect(log.unfinished()).toMatchObject([{ id: 1, metadata: { status: "started" } }]);
      await new Promise((resolve) => setTimeout(resolve, 20));
      return "done";
    });
    expect(result).toBe("done");
    expect(told(log)).toEqual([intent, outcome({ status: "ok" })]);
    expect(log.recent({})[2]?.metadata).toMatchObject({
      durationMs: expect.toSatisfy((ms: number) => ms >= 19),
    });
    expect(log.unfinished()).toEqual([]);
    expect(log.verify()).toMatchObject({ ok: true, rows: 3 });
  });

  test.for([
    ["a rejection", async () => Promise.reject(new UserError("no space")), "no space"],
    [
      "a plain throw",
      () => {
        throw new TypeError("our bug");
      },
      "our bug",
    ],
    ["something that is no error", async () => Promise.reject("text"), "text"],
    ["an interruption", async () => Promise.reject(new Interrupted()), "interrupted"],
  ] as const)("writes a failure and throws it on: %s", async ([, action, error]) => {
    const { log } = tempLog();
    let thrown: unknown;
    const run = async () => {
      try {
        await action();
      } catch (reason) {
        thrown = reason;
        throw reason;
      }
    };
    const caught = await record(opener(log), create, actor, run).then(
      () => "nothing",
      (reason: unknown) => reason,
    );
    expect(caught).toBe(thrown);
    expect(told(log)).toEqual([intent, outcome({ status: "failed", error })]);
    expect(log.unfinished()).toEqual([]);
  });

  test("records an action that throws before it returns a promise", async () => {
    const { log } = tempLog();
    await expect(record(opener(log), create, actor, throwAtOnce)).rejects.toThrow("at once");
    expect(told(log)).toEqual([intent, outcome({ status: "failed", error: "at once" })]);
  });

  test("does not run the action when the intent cannot be written", async () => {
    const { path, log } = tempLog();
    const locked = lock(path);
    let ran = false;
    const recorded = record(opener(log), create, actor, async () => {
      ran = true;
    });
    await expect(recorded).rejects.toMatchObject({
      name: "UserError",
      message: expect.stringMatching(
        /^Nothing was done, because it could not be recorded: container_create on web-01\. Unable to write/,
      ),
      exitCode: 6,
    });
    expect(ran).toBe(false);
    locked.close();
    expect(told(log)).toEqual([]);
  });

  test("says when a change was made but could not be recorded", async () => {
    const { path, log } = tempLog();
    const recorded = record(opener(log), create, actor, async () => lock(path));
    await expect(recorded).rejects.toMatchObject({
      name: "UserError",
      message: expect.stringMatching(
        /^container_create on web-01 was done, but this could not be recorded\. Unable to write/,
      ),
      hint: expect.stringMatching(/^Row 1 of `op-dbus audit log` stays without an outcome\. Try/),
    });
    expect(log.unfinished()).toMatchObject([{ id: 1 }]);
  });

  test("says both when a failure could not be recorded", async () => {
    const { path, log } = tempLog();
    const failure = new Error("no space");
    const recorded = record(opener(log), create, actor, async () => {
      lock(path);
      throw failure;
    });
    await expect(recorded).rejects.toMatchObject({
      message: expect.stringMatching(
        /^container_create on web-01 failed \(no space\), but this could not be recorded\. Unable/,
      ),
      cause: failure,
    });
  });
});

/** Takes the write lock until it is closed, as another process would. */
function lock(path: string): Database.Database {
  return new Database(path).exec("BEGIN IMMEDIATE");
}

describe("recordAll", () => {
  test("writes all intents at once and each outcome by itself", async () => {
    const { log } = tempLog();
    const [first, second, third] = recordAll(opener(log), [entry(1), entry(2), entry(3)], actor);
    expect(
      log
        .recent({})
        .slice(1)
        .map((row) => row.metadata),
    ).toEqual([1, 2, 3].map((n) => ({ n, status: "started", actor })));
    await second?.run(async () => "made");
    third?.finish({ status: "failed", durationMs: 7, error: new Error("not tried") });
    expect(log.unfinished().map(({ id }) => id)).toEqual([first?.intent]);
    expect(told(log).slice(3)).toMatchObject([
      { id: 4, target: "target-2", metadata: { status: "ok", intent: 2 } },
      {
        id: 5,
        target: "target-3",
        metadata: { status: "failed", intent: 3, durationMs: 7, error: "not tried" },
      },
    ]);
  });

  test("is not open while the operations run", async () => {
    const { log } = tempLog();
    let open = 0;
    const counted = () => {
      open++;
      return { ...log, close: () => void open-- };
    };
    for (const one of recordAll(counted, [entry(1), entry(2)], actor)) await one.run(async () => expect(open).toBe(0));
    expect(told(log)).toHaveLength(4);
  });

  test("writes no intent when one of them cannot be written", () => {
    const { path, log } = tempLog();
    const locked = lock(path);
    expect(() => recordAll(opener(log), [entry(1), entry(2)], actor)).toThrow(
      /^Nothing was done.*: operation_1 on target-1, operation_2 on target-2\. /,
    );
    locked.close();
    expect(told(log)).toEqual([]);
  });
});
