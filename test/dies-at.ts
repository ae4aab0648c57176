import type { Host } from "../src/host/host.ts";
import type { MemoryHost } from "./memory-host.ts";

/** The host as a process sees it that is killed at one of its changes: from then on nothing is done. */
export function diesAt(host: MemoryHost, cut: number): Host {
  const before = host.changes.length;
  let dead = false;
  return new Proxy(host, {
    get(target, name: keyof MemoryHost) {
      const value: unknown = target[name];
      if (typeof value !== "function") return value;
      return async (...args: unknown[]): Promise<unknown> => {
        const changes = ["probe", "readText", "stat", "list", "readLink", "digest", "space"].every(
          (look) => look !== name,
        );
        dead ||= changes && host.changes.length - before >= cut;
        if (dead) throw new Error("killed");
        return (value as (...rest: unknown[]) => Promise<unknown>)(...args);
      };
    },
  });
}
