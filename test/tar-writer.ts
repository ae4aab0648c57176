/** A member of an archive; what is left out is as in a usual file. */
export interface Member {
  readonly name: string;
  /** As in tar(5): `0` is a file, `2` a symbolic link. */
  readonly type?: string;
  readonly linkName?: string;
  readonly data?: string | Buffer;
  readonly mode?: number;
  /** What the header says, whatever the data is. */
  readonly size?: number | string;
  /** The eight bytes behind the header's own fields: POSIX ones, unless given. */
  readonly magic?: string;
  readonly prefix?: string;
  /** Major and minor number; 0 and 0, a whiteout of overlayfs, unless given. */
  readonly device?: readonly [number, number];
  /** Damages the block after its checksum was made. */
  readonly damage?: (block: Buffer) => void;
}

const BLOCK = 512;
/** What ends an archive. */
export const END = Buffer.alloc(2 * BLOCK);

/** An archive of these members, with its end. */
export function tar(...members: readonly Member[]): Buffer {
  return Buffer.concat([...members.map(memberBlocks), END]);
}

/** A member as blocks, and nothing of an archive around it. */
export function memberBlocks(member: Member): Buffer {
  const { name, type = "0", linkName = "", mode = 0o644, magic = "ustar\x0000", prefix = "", device, damage } = member;
  const data = Buffer.from(member.data ?? "");
  const size = member.size ?? data.length;
  const block = Buffer.alloc(BLOCK);
  block.write(name, 0, 100, "latin1");
  block.write(`${mode.toString(8).padStart(7, "0")}\0`, 100, "latin1");
  block.write("0000000\x000000000\0", 108, "latin1");
  block.write(typeof size === "string" ? size : `${size.toString(8).padStart(11, "0")}\0`, 124, 12, "latin1");
  block.write("00000000000\0", 136, "latin1");
  block.write(type, 156, 1, "latin1");
  block.write(linkName, 157, 100, "latin1");
  block.write(magic, 257, 8, "latin1");
  for (const [index, number] of (device ?? []).entries()) {
    block.write(`${number.toString(8).padStart(7, "0")}\0`, 329 + 8 * index, "latin1");
  }
  block.write(prefix, 345, 155, "latin1");
  block.write("        ", 148, "latin1");
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  damage?.(block);
  const padding = Buffer.alloc((BLOCK - (data.length % BLOCK)) % BLOCK);
  return Buffer.concat([block, data, padding]);
}

/** The header that says more of the next member than its own can. */
export function pax(records: Readonly<Record<string, string>> | string, type = "x"): Member {
  const text =
    typeof records === "string"
      ? records
      : Object.entries(records)
          .map(([key, value]) => paxRecord(key, value))
          .join("");
  return { name: "PaxHeaders/x", type, data: Buffer.from(text, "latin1") };
}

/** A record of a pax header; its length counts itself. */
export function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return `${length}${rest}`;
}

/** GNU's header for a long name (L) or target (K). */
export function long(type: "L" | "K", name: string): Member {
  return { name: "././@LongLink", type, data: `${name}\0`, magic: "ustar  \0" };
}
