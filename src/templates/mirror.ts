import { EXIT, UserError } from "../host/errors.ts";
import type { HostView } from "../host/host.ts";

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

/**
 * The lines of sources.list that a template is built from and keeps.
 * @param mirror an address, or `auto`: what this host's own apt uses
 * @throws {UserError} when apt has no Debian mirror to take over
 */
export async function aptSources(
  host: HostView,
  mirror: string,
  suite: string,
  components: readonly string[],
): Promise<string[]> {
  const signed = (await host.stat(KEYRING)) === undefined ? "" : `[signed-by=${KEYRING}] `;
  const line = (uri: string, name: string) => `deb ${signed}${uri.replace(/\/+$/, "")} ${name} ${components.join(" ")}`;
  if (mirror !== "auto") return [line(mirror, suite)];
  const targets = await listTargets(host);
  const mirrorFor = (release: RegExp) => targets.find((target) => release.test(target.release))?.uri;
  const base = mirrorFor(/^[a-z]+$/);
  if (base === undefined) {
    throw new UserError("Unable to find a Debian mirror: this host's apt has no lists of one", {
      hint: 'apt-get update   # or name one in /etc/opdbus/opdbus.toml: [templates] mirror = "https://deb.debian.org/debian"',
      exitCode: EXIT.unsupported,
    });
  }
  const updates = mirrorFor(/-updates$/);
  const security = mirrorFor(/-security$/);
  return [
    line(base, suite),
    ...(updates === undefined ? [] : [line(updates, `${suite}-updates`)]),
    ...(security === undefined ? [] : [line(security, `${suite}-security`)]),
  ];
}

interface AptTarget {
  readonly uri: string;
  /** Suite as sources.list names it, such as `bookworm-security`. */
  readonly release: string;
}

/** Debian's own package lists among those that apt has fetched. */
async function listTargets(host: HostView): Promise<AptTarget[]> {
  const format = "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)";
  const listed = await host.probe(["apt-get", "indextargets", "--format", format, "Created-By: Packages"]);
  return listed.stdout.split("\n").flatMap((line) => {
    const [uri = "", release = "", component, origin = ""] = line.split(" ");
    // others publish a suite "trixie", too
    return origin === "Debian" && component === "main" && uri.startsWith("http") ? [{ uri, release }] : [];
  });
}
