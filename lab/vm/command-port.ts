import { Buffer } from "node:buffer";
import { randomUUID } from "node:crypto";
import { connect } from "node:net";
import { createInterface } from "node:readline";
import type { Finished } from "../run-in-node.ts";

/** The serial port over which a virtual machine takes commands, see command-port.sh. */
export interface CommandPort {
  /** Runs a script of sh(1), one at a time; undefined when no answer came in time. */
  ask(script: string, timeoutMs: number): Promise<Finished | undefined>;
  close(): void;
}

/** Connects to the socket that QEMU listens on for the port. */
export async function openCommandPort(path: string): Promise<CommandPort> {
  const socket = connect(path);
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  const waiting = new Map<string, (finished: Finished) => void>();
  // A machine that boots may say something else first, or answer what nobody waits for any more.
  createInterface({ input: socket }).on("line", (line) => {
    const [token = "", exitCode, stdout = "", stderr = ""] = line.split(" ");
    waiting.get(token)?.({ exitCode: Number(exitCode), stdout: decode(stdout), stderr: decode(stderr) });
  });
  return {
    async ask(script, timeoutMs) {
      const token = randomUUID();
      const answered = new Promise<Finished>((resolve) => waiting.set(token, resolve));
      const { promise: late, resolve: giveUp } = Promise.withResolvers<undefined>();
      const timer = setTimeout(() => giveUp(undefined), timeoutMs);
      socket.write(`${token} ${Buffer.from(script).toString("base64")}\n`);
      const finished = await Promise.race([answered, late]);
      clearTimeout(timer);
      waiting.delete(token);
      return finished;
    },
    close: () => void socket.destroy(),
  };
}

function decode(base64: string): string {
  return Buffer.from(base64, "base64").toString();
}
