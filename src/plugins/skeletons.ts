/** A file that a new plugin folder starts with. */
interface SkeletonFile {
  readonly name: string;
  readonly content: string;
}

/** What a plugin folder starts with. */
export interface PluginSkeleton {
  readonly name: string;
  readonly files: readonly SkeletonFile[];
  readonly folders: readonly string[];
}

const NOTHING = "{}\n";

/** The four plugins of the specification, as they are before anything used them. */
export const PLUGIN_SKELETONS: readonly PluginSkeleton[] = [
  skeleton("lxc", "LXC containers", { requiresRoot: true }),
  skeleton(
    "netmaker",
    "Netmaker mesh",
    { requiresRoot: true },
    [{ name: "mesh-topology.json", content: NOTHING }],
    ["enrollment-keys"],
  ),
  skeleton("ovs", "Open vSwitch bridges and flows", { requiresRoot: true }, [
    { name: "flows.json", content: NOTHING },
    { name: "bridges.json", content: NOTHING },
  ]),
  skeleton("systemd", "systemd units", {
    requiresRoot: true,
    dbus: {
      service: "org.freedesktop.systemd1",
      path: "/org/freedesktop/systemd1",
      interface: "org.freedesktop.systemd1.Manager",
    },
  }),
];

interface PluginFacts {
  readonly requiresRoot: boolean;
  /** Only systemd has a D-Bus service of these four. */
  readonly dbus?: { readonly service: string; readonly path: string; readonly interface: string };
}

function skeleton(
  name: string,
  description: string,
  facts: PluginFacts,
  files: readonly SkeletonFile[] = [],
  folders: readonly string[] = [],
): PluginSkeleton {
  return {
    name,
    files: [
      { name: "plugin.toml", content: pluginToml(name, description, facts) },
      { name: "semantic-mapping.toml", content: semanticMappingToml(name, description) },
      ...files,
    ],
    folders: ["state", "cache", ...folders],
  };
}

function pluginToml(name: string, description: string, { requiresRoot, dbus }: PluginFacts): string {
  const lines = [
    "[plugin]",
    `name = "${name}"`,
    'version = "1.0.0"',
    `description = "${description}"`,
    'source = "hand-written"',
    `requires_root = ${requiresRoot}`,
    ...(dbus
      ? [`dbus_service = "${dbus.service}"`, `dbus_path = "${dbus.path}"`, `dbus_interface = "${dbus.interface}"`]
      : ["# no D-Bus service of its own: an adapter speaks to it"]),
    "",
    "[capabilities]",
    "query = true",
    "# becomes true when semantic-mapping.toml says how to write",
    "apply = false",
    "",
  ];
  return lines.join("\n");
}

function semanticMappingToml(name: string, description: string): string {
  return `# How write operations of this plugin map to calls. No mapping: the plugin is read-only.
[service]
name = "${name}"
version = "1.0.0"
description = "${description}"

[methods]

[properties]

[state_mapping]

[safety]
allow_writes = false
read_only_reason = "no mapping yet"
`;
}
