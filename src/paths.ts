/** Where the pool is mounted, or lies as a subvolume of a BTRFS host. Fixed by the specification. */
export const POOL = "/var/lib/op-dbus";

/** systemd's name for a mount there, see systemd-escape(1). */
export const POOL_MOUNT_UNIT = String.raw`var-lib-op\x2ddbus.mount`;
/** The mount unit of a pool in a file or on a device. */
export const POOL_MOUNT_UNIT_FILE = `/etc/systemd/system/${POOL_MOUNT_UNIT}`;

/** The audit log (specification, section 8). */
export const AUDIT_DATABASE = `${POOL}/@timing/blockchain.db`;
/** What `op-dbus query --save` writes. */
export const CURRENT_STATE = `${POOL}/@state/current-state.json`;
/** Sealed snapshots of plugin folders. */
export const SNAPSHOTS = `${POOL}/@snapshots`;
/** A subvolume for each plugin. */
export const PLUGINS = `${POOL}/@plugins`;
/** A folder for each template. */
export const TEMPLATES = `${POOL}/@templates`;
/** A folder for each container. */
export const CONTAINERS = `${POOL}/@containers`;
/** Unix sockets (specification, section 9). */
export const SOCKETS = `${POOL}/sockets`;

/** The name of the Debian package, and of the commands that it brings. */
export const PACKAGE = "opdbus-pve";
/** The unit that records the node's state at each boot. */
export const SERVICE = "opdbus.service";

/** What belongs to this host and must be there without the pool. */
export const HOST_STATE = "/var/lib/opdbus-pve";
/** The sparse file of a pool that lies in one. */
export const POOL_IMAGE = `${HOST_STATE}/pool.img`;
/** What it is called while it is being removed. */
export const IMAGE_GOING = `${POOL_IMAGE}.gone`;
/** What is forgotten at the next boot: locks, checked settings. */
export const RUNTIME = "/run/opdbus";
/** The admin's settings and definitions, and the installer's markers. */
export const SETTINGS = "/etc/opdbus";
