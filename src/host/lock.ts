import { spawn } from "node:child_process";
import * as fs from "node:fs";
import type { Socket } from "node:net";
import { dirname } from "node:path";
import { EXIT, UserError } from "./errors.ts";
import { localFiles } from "./local-files.ts";
import { environment } from "./run-command.ts";

/**
 * Takes a lock in the kernel's keeping: a child `flock FILE cat` holds it and
 * ends when our end of its pipe closes, so that no way of dying leaves it
 * behind (Node itself has no flock(2)).
 * @see Host.lock
 */
export async function holdLock(path: string, holder: string): Promise<() => Promise<void>> {
  await localFiles.makeDirectory(dirname(path));
  await localFiles.appendText(path, "");
  // whoever can open the file can lock it, and keep us out
  await localFiles.setAttributes(path, { mode: 0o600 });
  const child = spawn("flock", ["--nonblock", "--conflict-exit-code", String(EXIT.busy), path, "cat"], {
    stdio: ["pipe", "pipe", "pipe"],
    detached: true,
    env: environment(),
  });
  const said: string[] = [];
  child.stderr.on("data", (text: Buffer) => said.push(text.toString()));
  const ended = new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve(code ?? EXIT.failed));
  });
  child.stdin.on("error", () => {});
  child.stdin.write("?");
  const answered = new Promise<"held">((resolve) => child.stdout.once("data", () => resolve("held")));
  const outcome = await Promise.race([answered, ended]);
  if (outcome === EXIT.busy) {
    const other = (await localFiles.readText(path))?.trim() || "another process";
    throw new UserError(`Another run is under way: ${other}`, {
      hint: `lslocks | grep -F ${path}   # shows its process; wait for it to end, then try again`,
      exitCode: EXIT.busy,
    });
  }
  if (outcome !== "held") {
    throw new UserError(`Unable to take the lock ${path}: ${said.join("").trim()}`, { hint: `ls -ld ${path}` });
  }
  writeHolder(path, `${holder}\n`);
  // the lock must not keep a finished program alive, neither as a process nor as a pipe
  child.stdout.destroy();
  child.stderr.destroy();
  (child.stdin as unknown as Socket).unref();
  child.unref();
  return async () => {
    writeHolder(path, "");
    child.ref();
    child.stdin.end();
    await ended;
  };
}

/** In place: the lock is on the file itself. It only tells others who we are, so a full disk must not keep us from work. */
function writeHolder(path: string, text: string): void {
  try {
    fs.writeFileSync(path, text);
  } catch {
    // others are told "another process"
  }
}
