/** One of the subvolumes that make the pool. */
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
  /** What lies in it is called so; undefined where names are free. */
  readonly content?: RegExp;
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
    content: /^(embeddings|queries|blocks)$/,
  },
  {
    name: "@timing",
    purpose: "audit log",
    wantedLevel: 3,
    mode: CLOSED,
    folders: [],
    content: /^blockchain\.db(-wal|-shm|-journal|\.new-.*)?$/,
  },
  { name: "@vectors", purpose: "vector search index", wantedLevel: 3, mode: CLOSED, folders: [], content: /^$/ },
  {
    name: "@state",
    purpose: "current state of the node",
    wantedLevel: 1,
    mode: CLOSED,
    folders: [],
    content: /^current-state\.json$/,
  },
  {
    name: "@snapshots",
    purpose: "plugin snapshots",
    wantedLevel: 1,
    mode: CLOSED,
    folders: [],
    content: /^plugin-/,
  },
  { name: "@plugins", purpose: "active plugins", wantedLevel: 1, mode: CLOSED, folders: [] },
  { name: "@templates", purpose: "container templates", wantedLevel: 1, mode: CLOSED, folders: [] },
  { name: "@containers", purpose: "containers", wantedLevel: 1, mode: CLOSED, folders: [] },
];
