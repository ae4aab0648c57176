// Takes a lock, says so, and then does what its second argument says.
import { localHost } from "../../src/host/local-host.ts";

const [path = "", then] = process.argv.slice(2);
const host = localHost(new AbortController().signal);
await host.lock(path, "the test's child");
process.stdout.write("held\n");
if (then === "wait") setInterval(() => {}, 1000);
