/** Where the pool is mounted, or lies as a subvolume of a BTRFS host. Fixed by the specification. */
export const POOL = "/var/lib/op-dbus";

export interface PoolSubvolume {
  readonly name: string;
  readonly purpose: string;
  /**
   * The zstd level that the specification asks for. BTRFS keeps the level per
   * file system, not per subvolume (btrfs-property(8)), so the property sets
   * the algorithm only, and `status` shows the ratio that was measured.
   */
  readonly wantedLevel: 1 | 3;
  readonly mode: number;
  readonly folders: readonly string[];
}

// Closed to everyone but root: a guest's set-uid files are owned by uid 0 on
// disk (its root file system is mapped when it is mounted), so an ordinary user
// of the host who could reach one would become root.
const CLOSED = 0o700;

/** The subvolumes of the specification, and the one that containers live in. */
export const SUBVOLUMES: readonly PoolSubvolume[] = [
  {
    name: "@cache",
    purpose: "ML embeddings cache",
    wantedLevel: 3,
    mode: CLOSED,
    folders: ["embeddings", "queries", "blocks"],
  },
  { name: "@timing", purpose: "audit log", wantedLevel: 3, mode: CLOSED, folders: [] },
  { name: "@vectors", purpose: "vector search index", wantedLevel: 3, mode: CLOSED, folders: [] },
  { name: "@state", purpose: "current state of the node", wantedLevel: 1, mode: CLOSED, folders: [] },
  { name: "@snapshots", purpose: "plugin snapshots", wantedLevel: 1, mode: CLOSED, folders: [] },
  { name: "@plugins", purpose: "active plugins", wantedLevel: 1, mode: CLOSED, folders: [] },
  { name: "@templates", purpose: "container templates", wantedLevel: 1, mode: CLOSED, folders: [] },
  { name: "@containers", purpose: "containers", wantedLevel: 1, mode: CLOSED, folders: [] },
];

export const AUDIT_DATABASE = `${POOL}/@timing/blockchain.db`;
export const CURRENT_STATE = `${POOL}/@state/current-state.json`;
export const SNAPSHOTS = `${POOL}/@snapshots`;
export const PLUGINS = `${POOL}/@plugins`;
export const TEMPLATES = `${POOL}/@templates`;
export const CONTAINERS = `${POOL}/@containers`;
export const SOCKETS = `${POOL}/sockets`;

/** What belongs to this host and must be there without the pool. */
export const HOST_STATE = "/var/lib/opdbus-pve";
export const POOL_IMAGE = `${HOST_STATE}/pool.img`;
export const RUNTIME = "/run/opdbus";
export const SETTINGS = "/etc/opdbus";
