/** Size of everything in a tar archive: headers, and data rounded up. */
export const BLOCK = 512;

/** A header as it stands in an archive; names as their bytes (latin1). */
export interface Header {
  readonly name: string;
  readonly linkName: string;
  readonly size: number;
  /** `0` for a file, and so on: tar(5). */
  readonly type: string;
}

/**
 * Reads a header block (POSIX ustar, or GNU's).
 * @throws Error saying what is wrong with it: everything that one program may read in another way than the next
 */
export function readHeader(block: Buffer): Header {
  const sum = block.reduce((total, byte, index) => total + (index >= 148 && index < 156 ? 32 : byte), 0);
  if (octal(block, 148, 8) !== sum) throw new Error("it is no tar archive, or damaged");
  const magic = block.toString("latin1", 257, 265);
  if (magic !== "ustar\x0000" && magic !== "ustar  \0") throw new Error("it has members of an old or unknown format");
  const prefix = magic.endsWith("00") ? text(block, 345, 155) : "";
  const name = text(block, 0, 100);
  const type = block[156] === 0 ? "0" : String.fromCodePoint(block[156] ?? 0);
  const size = number(block, 124, 12);
  return { name: prefix === "" ? name : `${prefix}/${name}`, linkName: text(block, 157, 100), size, type };
}

function text(block: Buffer, at: number, length: number): string {
  return block.toString("latin1", at, at + length).split("\0")[0] ?? "";
}

function octal(block: Buffer, at: number, length: number): number {
  const digits = /^ *([0-7]+)[ \0]*$/.exec(block.toString("latin1", at, at + length))?.[1];
  if (digits === undefined) throw new Error("it is no tar archive, or damaged");
  return Number.parseInt(digits, 8);
}

/** Octal, or for the largest files a binary number (GNU's base-256). */
function number(block: Buffer, at: number, length: number): number {
  if (block[at] !== 0x80) return octal(block, at, length);
  const value = BigInt(`0x${block.toString("hex", at + 1, at + length)}`);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new Error("it has a member of an impossible size");
  return Number(value);
}

/**
 * Reads the records of a pax header, `LENGTH KEY=VALUE\n` each.
 * @throws Error when they are not what POSIX says, or say one thing twice
 */
export function readPax(data: Buffer): Map<string, string> {
  const records = new Map<string, string>();
  for (let at = 0; at < data.length;) {
    const [start = "", digits = ""] = /^([1-9]\d{0,7}) /.exec(data.toString("latin1", at, at + 10)) ?? [];
    const end = at + Number(digits);
    const record = data.toString("latin1", at + start.length, end);
    const [, key, value] = /^([^=]+)=([^]*)\n$/.exec(record) ?? [];
    if (key === undefined || value === undefined || end > data.length || end <= at) {
      throw new Error("it has a broken pax header");
    }
    if (records.has(key)) throw new Error(`it has a pax header with ${key} twice`);
    records.set(key, value);
    at = end;
  }
  return records;
}
