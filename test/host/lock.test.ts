import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { localHost } from "../../src/host/local-host.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

const host = localHost(new AbortController().signal);

/** Another process that holds the lock, and then waits or ends. */
async function holder(path: string, then: "wait" | "end"): Promise<ChildProcess> {
  const child = spawn(process.execPath, [fileURLToPath(new URL("lock-holder.ts", import.meta.url)), path, then], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  await once(child.stdout, "data");
  return child;
}

test("the second one is told who holds the lock", async () => {
  const path = join(temporaryDirectory(), "run", "lock");
  const release = await host.lock(path, "the first");
  await expect(host.lock(path, "the second")).rejects.toMatchObject({
    exitCode: 6,
    message: expect.stringContaining("the first"),
  });
  await release();
  const again = await host.lock(path, "the third");
  await again();
});

test("a lock meets another process, and is free when that one is killed", async () => {
  const path = join(temporaryDirectory(), "lock");
  const child = await holder(path, "wait");
  await expect(host.lock(path, "me")).rejects.toThrow(/the test's child/);
  child.kill("SIGKILL");
  await once(child, "exit");
  // the kernel closes the pipe at once; the process that keeps the lock needs a moment to see it
  await expect.poll(() => host.lock(path, "me").then(onTestFinished, () => "taken")).not.toBe("taken");
  await expect(host.lock(path, "you")).rejects.toThrow(/me/);
});

test("a lock does not keep a finished program alive", { timeout: 10_000 }, async () => {
  const child = await holder(join(temporaryDirectory(), "lock"), "end");
  await expect.poll(() => child.exitCode, { timeout: 5000 }).toBe(0);
});

test.runIf(process.getuid?.() === 0)("nobody but root can take the lock, and keep root out", async () => {
  const folder = temporaryDirectory();
  chmodSync(folder, 0o755);
  const path = join(folder, "lock");
  writeFileSync(path, "");
  await (
    await host.lock(path, "me")
  )();
  const nobody = ["--reuid=nobody", "--regid=nogroup", "--clear-groups", "flock", "--nonblock", path, "true"];
  const { status, stderr } = spawnSync("setpriv", nobody, { encoding: "utf8" });
  expect(status).not.toBe(0);
  expect(stderr).toContain("Permission denied");
});

test("a lock that cannot be taken is not called somebody else's", async () => {
  const path = join(temporaryDirectory(), "lock");
  symlinkSync(path, path);
  await expect(host.lock(path, "me")).rejects.toMatchObject({
    message: expect.stringMatching(/its links lead in a circle/),
    exitCode: 1,
  });
});
