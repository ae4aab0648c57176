import { join } from "node:path";
import type { Host, HostView } from "../../host/host.ts";
import { SETTINGS } from "../../pool/layout.ts";
import { POOL_MOUNT_UNIT } from "../../pool/find-pool.ts";
import { TREE } from "../../tree.ts";
import { changesNeeded, type Step } from "../step.ts";

/** Where the program lives, whoever installed it. */
const PROGRAM = "/usr/lib/opdbus-pve";
const COMMANDS = ["opdbus-pve", "op-dbus"];
const LINKS = "/usr/local/bin";

/** What a built tree says of itself: every file, so that a half-copied or altered one shows. */
interface TreeManifest {
  readonly version: string;
  /** Path below the tree to hex SHA-256. */
  readonly files: Readonly<Record<string, string>>;
}

const SYSTEM_UNITS = "/etc/systemd/system";
const SERVICE = "opdbus.service";

/** The files around the program, path to text. */
const FILES: readonly { readonly path: string; readonly text: string }[] = [
  {
    path: `${SYSTEM_UNITS}/${SERVICE}`,
    text: `[Unit]
Description=operation-dbus: record the node's state at boot
RequiresMountsFor=/var/lib/op-dbus
ConditionPathIsDirectory=/var/lib/op-dbus/@state

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=${PROGRAM}/op-dbus query --save --quiet
NoNewPrivileges=yes
PrivateTmp=yes
ProtectHome=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=strict
ReadWritePaths=/var/lib/op-dbus -/var/cache/opdbus-pve
ProtectControlGroups=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictSUIDSGID=yes
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
`,
  },
  {
    // an ordering only: a container of somebody else must start also where our pool is broken
    path: `${SYSTEM_UNITS}/lxc@.service.d/50-opdbus.conf`,
    text: `[Unit]
After=${POOL_MOUNT_UNIT}
`,
  },
];

/** Step 10: the program itself, its two commands, and its service unit. */
export function programStep(): Step {
  return {
    id: "program",
    title: "Install the program and its service",
    notYet: ["the API daemon behind opdbus.socket"],
    check,
    apply,
  };
}

async function check(host: HostView) {
  const source = await readManifest(host, TREE);
  if (source === undefined) {
    return {
      state: "blocked",
      reason: `${TREE} is a checkout, not a built tree`,
      hint: "npm run build && build/opdbus-pve/opdbus-pve install",
    } as const;
  }
  const changes: string[] = [];
  if (TREE !== PROGRAM && !(await isSameTree(host, source))) {
    changes.push(`Install version ${source.version} of the program to ${PROGRAM}`);
  }
  for (const command of COMMANDS) {
    const path = join(LINKS, command);
    const found = await host.stat(path);
    if (found !== undefined && found.type !== "link") {
      return {
        state: "blocked",
        reason: `${path} is somebody else's program`,
        hint: `mv ${path} ${path}.before`,
      } as const;
    }
    if ((await host.readLink(join(LINKS, command))) !== join(PROGRAM, command))
      changes.push(`Link ${join(LINKS, command)}`);
  }
  for (const { path, text } of await wantedFiles(host)) {
    if ((await host.readText(path)) !== text) changes.push(`Write ${path}`);
  }
  const enabled = (await host.probe(["systemctl", "is-enabled", SERVICE])).stdout.trim() === "enabled";
  const active = (await host.probe(["systemctl", "is-active", SERVICE])).stdout.trim() === "active";
  if (!enabled || !active) changes.push(`Enable and start ${SERVICE}`);
  return changesNeeded(changes);
}

async function wantedFiles(host: HostView) {
  const sample = (await host.readText(join(TREE, "opdbus.toml.sample"))) ?? "";
  return [...FILES, { path: `${SETTINGS}/opdbus.toml.sample`, text: sample }];
}

async function readManifest(host: HostView, tree: string): Promise<TreeManifest | undefined> {
  const text = await host.readText(join(tree, "tree.json"));
  return text === undefined ? undefined : (JSON.parse(text) as TreeManifest);
}

async function isSameTree(host: HostView, source: TreeManifest): Promise<boolean> {
  for (const [path, digest] of Object.entries(source.files)) {
    if ((await host.digest(join(PROGRAM, path))) !== digest) return false;
  }
  return (await host.readText(join(PROGRAM, "tree.json"))) === (await host.readText(join(TREE, "tree.json")));
}

async function apply(host: Host): Promise<void> {
  const source = await readManifest(host, TREE);
  if (TREE !== PROGRAM && source && !(await isSameTree(host, source))) await copyTree(host);
  for (const folder of [SETTINGS, `${SETTINGS}/conf.d`, `${SETTINGS}/templates.d`]) {
    if ((await host.stat(folder)) === undefined) await host.makeDirectory(folder, { mode: 0o755 });
  }
  await host.makeDirectory("/var/cache/opdbus-pve", { mode: 0o755 });
  for (const command of COMMANDS) await host.replaceLink(join(PROGRAM, command), join(LINKS, command));
  await host.makeDirectory(`${SYSTEM_UNITS}/lxc@.service.d`, { mode: 0o755 });
  for (const { path, text } of await wantedFiles(host)) {
    if ((await host.readText(path)) !== text) await host.writeText(path, text);
  }
  await host.run(["systemctl", "daemon-reload"]);
  await host.run(["systemctl", "enable", "--quiet", "--now", SERVICE]);
}

// the old tree goes aside before the new one takes its name: never half of each under it
async function copyTree(host: Host): Promise<void> {
  const fresh = `${PROGRAM}.new`;
  const old = `${PROGRAM}.old`;
  await host.remove(fresh);
  await host.run(["cp", "--archive", "--no-preserve=ownership", "--", TREE, fresh]);
  await host.remove(old);
  if ((await host.stat(PROGRAM)) !== undefined) await host.rename(PROGRAM, old);
  await host.rename(fresh, PROGRAM);
  await host.remove(old);
}
