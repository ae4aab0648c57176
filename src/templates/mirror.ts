import { EXIT, UserError } from "../host/errors.ts";
import type { HostView } from "../host/host.ts";

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";
const UBUNTU = {
  keyring: "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
  mirror: "http://archive.ubuntu.com/ubuntu",
  security: "http://security.ubuntu.com/ubuntu",
};

/** Where packages come from: addresses, or `auto` for what this host's own apt uses. */
export interface Mirrors {
  readonly mirror: string;
  /** Security updates have an archive of their own. */
  readonly securityMirror: string;
  /** The same of Ubuntu, whose own archive `auto` stands for; `auto` unless given. */
  readonly ubuntuMirror?: string;
  readonly ubuntuSecurityMirror?: string;
}

interface Wanted {
  readonly distribution?: "debian" | "ubuntu" | undefined;
  readonly components: readonly string[];
  readonly pockets: readonly Pocket[];
}

interface Sources {
  readonly lines: string[];
  readonly lacksSecurity: boolean;
}

/** What of a suite is kept apart from it: everything but sid has both (Debian reference, 2.1.4). */
export type Pocket = "updates" | "security";

/**
 * The lines of sources.list that a template is built from and keeps.
 * @throws {UserError} when apt has no Debian mirror to take over, or the key of Ubuntu's archive is not here
 */
export async function aptSources(host: HostView, mirrors: Mirrors, suite: string, wanted: Wanted): Promise<Sources> {
  return wanted.distribution === "ubuntu"
    ? ubuntuSources(host, mirrors, suite, wanted)
    : debianSources(host, mirrors, suite, wanted);
}

async function ubuntuSources(host: HostView, mirrors: Mirrors, suite: string, wanted: Wanted): Promise<Sources> {
  if ((await host.stat(UBUNTU.keyring)) === undefined) {
    throw new UserError(`The key of Ubuntu's archive is missing on this host: ${UBUNTU.keyring}`, {
      hint: "apt-get install --no-install-recommends ubuntu-keyring",
      exitCode: EXIT.unsupported,
    });
  }
  const { ubuntuMirror: mirror = "auto", ubuntuSecurityMirror: securityMirror = "auto" } = mirrors;
  const base = mirror === "auto" ? UBUNTU.mirror : mirror;
  const security = securityMirror === "auto" ? UBUNTU.security : securityMirror;
  const line = (uri: string, name: string) => aptLine(uri, name, wanted.components, UBUNTU.keyring);
  const pockets = wanted.pockets.map((pocket) => line(pocket === "security" ? security : base, `${suite}-${pocket}`));
  return { lines: [line(base, suite), ...pockets], lacksSecurity: false };
}

function aptLine(uri: string, suite: string, components: readonly string[], keyring: string | undefined): string {
  const signed = keyring === undefined ? "" : `[signed-by=${keyring}] `;
  return `deb ${signed}${uri.replace(/\/+$/, "")} ${suite} ${components.join(" ")}`;
}

async function debianSources(
  host: HostView,
  { mirror, securityMirror }: Mirrors,
  suite: string,
  { components, pockets }: Wanted,
): Promise<Sources> {
  const keyring = (await host.stat(KEYRING)) === undefined ? undefined : KEYRING;
  const line = (uri: string, name: string) => aptLine(uri, name, components, keyring);
  const wanted = ROLLING.has(suite) ? [] : pockets;
  const asksApt = mirror === "auto" || (securityMirror === "auto" && wanted.includes("security"));
  const all = asksApt ? await listTargets(host) : [];
  // apt can be told a password in an address; a template keeps its addresses, and shows them to every container
  const targets = all.filter(({ uri }) => !/^https?:\/\/[^/]*@/.test(uri));
  const aptHas = (release: RegExp) => targets.find((target) => release.test(target.release))?.uri;

  const base = mirror === "auto" ? aptHas(/^[a-z]+$/) : mirror;
  if (base === undefined) {
    const why =
      all.length > targets.length
        ? "that of this host's apt has a password in its address, and would show it to every container"
        : "this host's apt has no lists of one";
    throw new UserError(`Unable to find a Debian mirror: ${why}`, {
      hint: 'apt-get update   # or name one in /etc/opdbus/opdbus.toml: [templates] mirror = "https://deb.debian.org/debian"',
      exitCode: EXIT.unsupported,
    });
  }
  // a mirror of the archive has both; apt may have been told to do without
  const updates = mirror === "auto" ? aptHas(/-updates$/) : mirror;
  const security = securityMirror === "auto" ? aptHas(/-security$/) : securityMirror;
  const lines = [
    line(base, suite),
    ...(wanted.includes("updates") && updates !== undefined ? [line(updates, `${suite}-updates`)] : []),
    ...(wanted.includes("security") && security !== undefined ? [line(security, `${suite}-security`)] : []),
  ];
  return { lines, lacksSecurity: wanted.includes("security") && security === undefined };
}

const ROLLING = new Set(["sid", "unstable"]);

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
