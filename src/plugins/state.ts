import { describeContainers } from "../containers/describe.ts";
import { Interrupted, messageOf } from "../host/errors.ts";
import type { Argv, Host, HostView } from "../host/host.ts";
import { CURRENT_STATE } from "../paths.ts";
import { requirePool } from "../pool/find-pool.ts";
import { poolUsage } from "../pool/usage.ts";
import { describeTemplates } from "../templates/describe.ts";
import { jsonText } from "../report/json.ts";
import { describeHost } from "./describe-host.ts";

/**
 * What is on this node as one document: the version 1 state file of
 * operation-dbus, with a key each for host, pool and templates beside it. A
 * part that cannot be read says so under `errors`; it does not hide the rest.
 */
export async function queryState(host: HostView) {
  const errors: Record<string, string> = {};
  const part = async <T>(name: string, look: () => Promise<T>): Promise<T | null> => {
    try {
      return await look();
    } catch (error) {
      if (error instanceof Interrupted) throw error;
      errors[name] = messageOf(error);
      return null;
    }
  };
  const state = {
    version: 1,
    plugins: {
      net: await part("net", () => queryNet(host)),
      systemd: await part("systemd", () => querySystemd(host)),
      lxc: await part("lxc", () => queryLxc(host)),
    },
    host: await part("host", () => describeHost(host)),
    pool: await part("pool", async () => (await poolUsage(host)) ?? null),
    templates: await part("templates", () => queryTemplates(host)),
  };
  return Object.keys(errors).length > 0 ? { ...state, errors } : { ...state, errors: undefined };
}

/** Writes the current state where the specification wants it, and returns it. */
export async function saveState(host: Host) {
  const state = await queryState(host);
  await host.writeText(CURRENT_STATE, `${jsonText(state)}\n`, { mode: 0o600 });
  return state;
}

interface IpInterface {
  readonly ifname: string;
  readonly linkinfo?: { readonly info_kind?: string };
  readonly addr_info?: readonly {
    readonly family: string;
    readonly local: string;
    readonly prefixlen: number;
    readonly dynamic?: boolean;
  }[];
}

async function queryNet(host: HostView) {
  const found = JSON.parse(await ask(host, ["ip", "-json", "-details", "address", "show"])) as IpInterface[];
  return {
    interfaces: found
      .filter(({ ifname }) => ifname !== "lo")
      .map(({ ifname, linkinfo, addr_info = [] }) => {
        const addresses = addr_info.filter(({ family }) => family === "inet");
        return {
          name: ifname,
          type: linkinfo?.info_kind === "bridge" ? "bridge" : "ethernet",
          ipv4: {
            enabled: addresses.length > 0,
            dhcp: addresses.some(({ dynamic }) => dynamic === true),
            address: addresses.map(({ local, prefixlen }) => ({ ip: local, prefix: prefixlen })),
          },
        };
      }),
  };
}

/** Units that are ours, or run what is ours. */
async function querySystemd(host: HostView) {
  const names = ["opdbus.service", "var-lib-op\\x2ddbus.mount", "lxc.service"];
  const text = await ask(host, ["systemctl", "show", "--property=Id,ActiveState,UnitFileState,LoadState", ...names]);
  const blocks = text
    .split("\n\n")
    .map(
      (block) =>
        new Map(block.split("\n").map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)])),
    );
  return {
    units: Object.fromEntries(
      blocks
        .filter((unit) => unit.get("LoadState") !== "not-found" && unit.get("Id"))
        .map((unit) => [
          unit.get("Id"),
          {
            active_state: unit.get("ActiveState"),
            enabled: unit.get("UnitFileState") === "enabled",
            masked: unit.get("LoadState") === "masked",
          },
        ]),
    ),
  };
}

async function queryLxc(host: HostView) {
  await requirePool(host);
  const containers = await describeContainers(host);
  return {
    containers: containers.map((container) =>
      "broken" in container
        ? { id: container.name, running: container.running, error: container.broken }
        : {
            id: container.name,
            running: container.running,
            properties: {
              network_type: container.record.network,
              template: container.record.template,
              template_version: container.record.templateVersion,
              hostname: container.name,
              memory: container.record.memoryMiB,
              swap: container.record.swapMiB,
              cores: container.record.cores,
              unprivileged: true,
            },
          },
    ),
  };
}

async function queryTemplates(host: HostView) {
  await requirePool(host);
  const templates = await describeTemplates(host);
  return Object.fromEntries(
    templates.map(({ name, current, suite, digest, builtAt, bytes, broken }) => [
      name,
      broken === undefined
        ? { version: current, suite, digest, built_at: builtAt, bytes }
        : { version: current, error: broken },
    ]),
  );
}

async function ask(host: HostView, argv: Argv): Promise<string> {
  const answer = await host.probe(argv);
  if (answer.exitCode !== 0) throw new Error(`${argv[0]}: ${answer.stderr.trim() || `exit status ${answer.exitCode}`}`);
  return answer.stdout;
}
