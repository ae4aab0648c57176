import { join } from "node:path";
import type { Host, HostView } from "../../host/host.ts";
import { POOL_MOUNT_UNIT, SETTINGS } from "../../paths.ts";
import { TREE } from "../../tree.ts";
import { CURRENT, findTree, installTree, PROGRAM } from "../program-tree.ts";
import { changesNeeded, type Finding, type Step } from "../step.ts";

const COMMANDS = ["opdbus-pve", "op-dbus"];
const LINKS = "/usr/local/bin";
/** What V8 keeps of the program's modules once it has compiled them. */
const COMPILE_CACHE = "/var/cache/opdbus-pve";

const SYSTEM_UNITS = "/etc/systemd/system";
const SERVICE = "opdbus.service";

/** The files around the program, path to text. */
const FILES: readonly { readonly path: string; readonly text: string; readonly mode?: number }[] = [
  {
    path: `${SYSTEM_UNITS}/${SERVICE}`,
    text: `[Unit]
Description=operation-dbus: record the node's state at boot
RequiresMountsFor=/var/lib/op-dbus
After=lxc.service
ConditionPathIsDirectory=/var/lib/op-dbus/@state

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=${CURRENT}/op-dbus query --save --quiet
NoNewPrivileges=yes
PrivateTmp=yes
ProtectHome=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=strict
ReadWritePaths=/var/lib/op-dbus -${COMPILE_CACHE}
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
    // an ordering only: a container of somebody else must start also where our pool is broken;
    // and a container that halts by itself has nothing left to stop, which must not count as a failure
    path: `${SYSTEM_UNITS}/lxc@.service.d/50-opdbus.conf`,
    text: `[Unit]
After=${POOL_MOUNT_UNIT}

[Service]
ExecStop=
ExecStop=-/usr/bin/lxc-stop -n %i
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

async function check(host: HostView): Promise<Finding> {
  const tree = await findTree(host);
  if (tree.state === "blocked") return tree;
  const changes: string[] = [];
  if (tree.state === "change") changes.push(`Install version ${tree.version} of the program to ${PROGRAM}`);
  for (const command of COMMANDS) {
    const path = join(LINKS, command);
    const found = await host.stat(path);
    const target = await host.readLink(path);
    if (found !== undefined && !target?.startsWith(`${PROGRAM}/`)) {
      return { state: "blocked", reason: `${path} is somebody else's program`, hint: `mv ${path} ${path}.before` };
    }
    if (target !== join(CURRENT, command)) changes.push(`Link ${path}`);
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
  const script = (await host.readText(join(TREE, "lxc-template.sh"))) ?? "";
  return [
    ...FILES,
    { path: `${SETTINGS}/opdbus.toml.sample`, text: sample },
    { path: "/usr/share/lxc/templates/lxc-debian-base", text: script, mode: 0o755 },
  ];
}

async function apply(host: Host): Promise<void> {
  await installTree(host);
  for (const folder of [SETTINGS, `${SETTINGS}/conf.d`, `${SETTINGS}/templates.d`]) {
    if ((await host.stat(folder)) === undefined) await host.makeDirectory(folder, { mode: 0o755 });
  }
  await host.makeDirectory(COMPILE_CACHE, { mode: 0o755 });
  for (const command of COMMANDS) await host.replaceLink(join(CURRENT, command), join(LINKS, command));
  await host.makeDirectory(`${SYSTEM_UNITS}/lxc@.service.d`, { mode: 0o755 });
  for (const { path, text, mode = 0o644 } of await wantedFiles(host)) {
    if ((await host.readText(path)) !== text) await host.writeText(path, text, { mode });
  }
  await host.run(["systemctl", "daemon-reload"]);
  await host.run(["systemctl", "enable", "--quiet", "--now", SERVICE]);
}
