/** 64 TiB: more than any host has, and a number that cgroups take. */
export const MOST_MIB = 64 * 1024 * 1024;
