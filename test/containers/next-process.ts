import type { MemoryHost } from "../memory-host.ts";
import { processStat } from "../debian-host.ts";

/** Lets the process that worked on a host be gone: what it left unfinished has nobody any more. */
export function endProcess(host: MemoryHost): void {
  host.tree.put(`/proc/${process.pid}/stat`, { text: processStat(process.pid, 9999) });
}
