/** 64 TiB: more than any host has, and a number that cgroups take. */
export const MOST_MIB = 64 * 1024 * 1024;

/** A container sees 65536 users, as on any Linux system. */
export const ID_RANGE_SIZE = 65536;

/** Ids end before 2^32 - 1, which stands for none (credentials(7)). */
export const LAST_ID = 2 ** 32 - 2;
