import { spawn } from "node:child_process";
import * as fs from "node:fs";
import type { Socket } from "node:net";
import { dirname } from "node:path";
import { EXIT, UserError } from "./errors.ts";
import { environment } from "./run-command.ts";

/**
 * Takes a lock in the kernel's keeping: a child `flock FILE cat` holds it and
 * ends when our end of its pipe closes, so that no way of dying leaves it
 * behind (Node itself has no flock(2)).
 * @see Host.lock
 */
export async function holdLock(path: string, holder: string): Promise<() => Promise<void>> {
  fs.mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  const child = spawn("flock", ["--nonblock", "--conflict-exit-code", "6", path, "cat"], {
    stdio: ["pipe", "pipe", "inherit"],
    detached: true,
    env: environment(),
  });
  const ended = new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => resolve(code ?? 1));
  });
  child.stdin.on("error", () => {});
  child.stdin.write("?");
  const answered = new Promise<"held">((resolve) => child.stdout.once("data", () => resolve("held")));
  const outcome = await Promise.race([answered, ended]);
  if (outcome !== "held") {
    const other = outcome === 6 ? fs.readFileSync(path, "utf8").trim() || "another process" : `flock exit ${outcome}`;
    throw new UserError(`Another run is under way: ${other}`, {
      hint: `wait for it to end, then try again (the lock is ${path})`,
      exitCode: EXIT.busy,
    });
  }
  fs.writeFileSync(path, `${holder}\n`);
  // the lock must not keep a finished program alive, neither as a process nor as a pipe
  child.stdout.destroy();
  (child.stdin as unknown as Socket).unref();
  child.unref();
  return async () => {
    fs.writeFileSync(path, "");
    child.ref();
    child.stdin.end();
    await ended;
  };
}
