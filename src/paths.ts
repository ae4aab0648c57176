/** Where the pool is mounted, or lies as a subvolume of a BTRFS host. Fixed by the specification. */
export const POOL = "/var/lib/op-dbus";

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
