import { isIP } from "node:net";
import type { JsonObject } from "../audit/rows.ts";
import { cachedSettings } from "../config/cached-settings.ts";
import { MOST_MIB } from "../config/limits.ts";
import {
  checkContainerName,
  checkTemplateName,
  checkTemplateVersion,
  type ContainerNetwork,
  NETWORKS,
  PUBLIC_SSH_KEY,
} from "../config/names.ts";
import { type ContainerRequest, createContainer, prepareCreate, refuseTaken } from "../containers/create.ts";
import { lxcLink } from "../containers/lxc-link.ts";
import type { ContainerRecord } from "../containers/record.ts";
import { startContainer, waitForBoot } from "../containers/start.ts";
import { setOnboot } from "../containers/unit.ts";
import { EXIT, UserError } from "../host/errors.ts";
import type { Host } from "../host/host.ts";
import { wholeNumber } from "./numbers.ts";
import { describeError } from "./renderer.ts";
import { type CommonOptions, recorded, recordedEach, runCommand, type Session, withPatience } from "./session.ts";

interface FinishOptions {
  readonly onboot?: boolean;
  readonly start?: boolean;
  readonly wait?: boolean;
}

interface CreateOptions extends CommonOptions, FinishOptions {
  readonly template?: string;
  readonly templateVersion?: string;
  readonly network?: ContainerNetwork;
  readonly cores?: string;
  readonly memory?: string;
  readonly swap?: string;
  readonly ip?: string;
  readonly sshKey?: string[];
  /** The folder that lxc-create has begun, when it is lxc-create that asks (packaging/root/usr/share/lxc/templates). */
  readonly forLxcCreate?: string;
}

/** `op-dbus container create` */
export async function create(names: readonly string[], options: CreateOptions): Promise<void> {
  await runCommand(options, async (session) => {
    checkNewNames(names);
    const forLxcCreate = isForLxcCreate(names, options);
    const { host } = session;
    const request = await readRequest(session, options);
    const prepared = await prepareCreate(host, request);
    await makeEach(session, names, options, {
      operation: "container_create",
      details: { template: request.template, version: prepared.version, network: request.network },
      from: `${request.template} ${prepared.version}`,
      refuseTaken: (name) => refuseTaken(host, name, forLxcCreate),
      make: (name) => createContainer(host, name, prepared, forLxcCreate),
      warn: () => sayLimits(session, request, prepared.limitsNotInForce),
    });
  });
}

/** @throws {UserError} with exit code 2 when one cannot name a container, or stands there twice */
export function checkNewNames(names: readonly string[]): void {
  for (const name of names) checkContainerName(name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new UserError(`${twice} is named twice`, { exitCode: EXIT.usage });
}

interface Making {
  readonly operation: string;
  /** What is on record of it. */
  readonly details: JsonObject;
  /** What they are made from, as people are told. */
  readonly from: string;
  readonly make: (name: string) => Promise<ContainerRecord>;
  /** How names that are taken are told; as usual unless given. */
  readonly refuseTaken?: (name: string) => Promise<void>;
  /** Says what people might not expect, when all are made. */
  readonly warn: () => void;
}

/** Makes several containers, on record, says how it went, and starts them where that was asked for. */
export async function makeEach(
  session: Session,
  names: readonly string[],
  options: FinishOptions,
  { operation, details, from, make, warn, ...how }: Making,
): Promise<void> {
  const { host, out, json } = session;
  for (const name of names) await (how.refuseTaken?.(name) ?? refuseTaken(host, name));
  const made: { name: string; result: string; record: ContainerRecord }[] = [];
  try {
    await recordedEach(
      session,
      names.map((name) => ({ operation, target: name, metadata: details })),
      async (index) => {
        const started = performance.now();
        const name = names[index] ?? "";
        const record = await withPatience(session, `create ${name}`, () => make(name));
        const tookMs = Math.round(performance.now() - started);
        made.push({ name: record.name, result: "created", record });
        if (!json) out.print(`${record.name}: created from ${from} in ${tookMs} ms`);
      },
    );
    warn();
    for (const each of made) each.result = await finish(session, each.name, options);
    if (json) out.json({ schema: 1, containers: made });
  } catch (error) {
    // what was made is there, whatever became of the rest
    if (json) out.json({ schema: 1, containers: made, error: describeError(error) });
    throw error;
  }
}

/** Whether lxc-create is to get a container. @throws {UserError} when it wants more than that */
function isForLxcCreate(names: readonly string[], { forLxcCreate: folder }: CreateOptions): boolean {
  if (folder === undefined) return false;
  // its script names it after what came from people
  const name = names.at(-1) ?? "";
  if (names.length === 1 && folder === lxcLink(name)) return true;
  throw new UserError(
    `lxc-create can get one container, in ${lxcLink(name)}, and not ${names.join(", ")} in ${folder}`,
    {
      hint: `lxc-create -t debian-base -n ${name} -- --network socket`,
      exitCode: EXIT.usage,
    },
  );
}

function sayLimits({ out }: Session, request: ContainerRequest, notInForce: readonly string[]): void {
  if (request.network === "socket") {
    out.report({
      kind: "warn",
      text: "the network socket is recorded and not there yet: for now the container has loopback only",
    });
  }
  if (request.ip !== undefined)
    out.report({ kind: "warn", text: `the address ${request.ip} is recorded and takes effect when there is a bridge` });
  if (notInForce.length > 0) {
    out.report({
      kind: "warn",
      text: `not in force on this host, which lacks the cgroup controllers: ${notInForce.join(", ")}`,
    });
  }
}

/** @returns how far it got: created, started, or what its systemd says */
async function finish(session: Session, name: string, options: FinishOptions): Promise<string> {
  const { host, out, json } = session;
  if (options.onboot)
    await recorded(session, "container_onboot", name, { onboot: true }, () => setOnboot(host, name, true));
  if (!options.start && !options.wait) return "created";
  const state = await withPatience(session, `start ${name}`, async () => {
    await recorded(session, "container_start", name, {}, () => startContainer(host, name));
    return options.wait ? waitForBoot(host, name) : "started";
  });
  if (!json) out.print(`${name}: ${state}`);
  return state;
}

async function readRequest(session: Session, options: CreateOptions): Promise<ContainerRequest> {
  const { host } = session;
  const { container } = await cachedSettings(host);
  const { defaults } = container;
  return {
    template: checkTemplateName(options.template ?? defaults.template),
    ...(options.templateVersion === undefined
      ? {}
      : { templateVersion: checkTemplateVersion(options.templateVersion) }),
    network: options.network ?? defaults.network ?? (await askNetwork(session)),
    cores: options.cores === undefined ? defaults.cores : wholeNumber("--cores", options.cores, 1, 1024),
    memoryMiB:
      options.memory === undefined ? defaults.memory_mib : wholeNumber("--memory", options.memory, 16, MOST_MIB),
    swapMiB: options.swap === undefined ? defaults.swap_mib : wholeNumber("--swap", options.swap, 0, MOST_MIB),
    ...(options.ip === undefined ? {} : { ip: checkAddress(options.ip) }),
    sshKeys: await readKeys(host, options.sshKey ?? []),
    limits: container.limits,
  };
}

async function askNetwork({ out }: Session): Promise<ContainerNetwork> {
  if (!out.interactive) {
    throw new UserError("Which network is not said, and there is no terminal to ask on", {
      hint: '--network socket, or [container.defaults] network = "socket" in /etc/opdbus/opdbus.toml',
      exitCode: EXIT.usage,
    });
  }
  const answer = await out.ask(
    "Which network?\n  socket  Unix sockets on this host: fast, simple\n  mesh    WireGuard mesh across hosts (Netmaker): not in this version\n  none    loopback only\n[socket] ",
  );
  const chosen = NETWORKS.find((network) => network === (answer || "socket"));
  if (chosen === undefined)
    throw new UserError(`${answer} is no network`, { hint: `one of ${NETWORKS.join(", ")}`, exitCode: EXIT.usage });
  return chosen;
}

function checkAddress(text: string): string {
  const [address = "", prefix = ""] = text.split("/");
  const version = isIP(address);
  const widest = version === 4 ? 32 : 128;
  if (text === "dhcp" || (version !== 0 && /^\d{1,3}$/.test(prefix) && Number(prefix) <= widest)) return text;
  throw new UserError(`--ip is ${JSON.stringify(text)}`, {
    hint: "--ip takes an address with its prefix, like 10.0.0.5/24, or dhcp",
    exitCode: EXIT.usage,
  });
}

async function readKeys(host: Host, sources: readonly string[]): Promise<string[]> {
  const keys: string[] = [];
  for (const source of sources) {
    const text = PUBLIC_SSH_KEY.test(source) ? source : await host.readText(source);
    const lines = (text ?? "")
      .split("\n")
      .map((line) => line.trim())
      .filter((line) => line !== "" && !line.startsWith("#"));
    if (text === undefined)
      throw new UserError(`Unable to read the SSH key ${source}: there is no such file`, { exitCode: EXIT.usage });
    if (lines.length === 0 || !lines.every((line) => PUBLIC_SSH_KEY.test(line))) {
      throw new UserError(`${source} holds no public SSH key`, {
        hint: "give the file that ends in .pub",
        exitCode: EXIT.usage,
      });
    }
    keys.push(...lines);
  }
  return keys;
}
