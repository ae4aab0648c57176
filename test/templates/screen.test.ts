import * as fc from "fast-check";
import { expect, test } from "vitest";
import { screenArchive, type Screening } from "../../src/templates/screen.ts";
import { HOSTILE } from "../hostile-archives.ts";
import { long, type Member, memberBlocks, pax, tar } from "../tar-writer.ts";

function screen(
  archive: Buffer,
  { pieces = archive.length || 1, ...rest }: Partial<Screening> & { pieces?: number } = {},
) {
  const screener = screenArchive({ source: "x.tar", limit: 2 ** 30, ...rest });
  for (let at = 0; at < archive.length; at += pieces) screener.take(archive.subarray(at, at + pieces));
  return screener.end();
}

test.each(HOSTILE)("refuses $trick", ({ archive, why }) => {
  expect(() => screen(archive)).toThrow(why);
  expect(() => screen(archive)).toThrow(expect.objectContaining({ name: "UserError", exitCode: 5 }));
  // however it comes
  expect(() => screen(archive, { pieces: 7 })).toThrow(why);
});

const USUAL: readonly Member[] = [
  { name: "./", type: "5" },
  { name: "./etc/", type: "5" },
  { name: "./etc/hostname", data: "box\n" },
  { name: "./etc/mtab", type: "2", linkName: "/proc/self/mounts" },
  { name: "./etc/up", type: "2", linkName: "../../.." },
  { name: "./etc/same", type: "1", linkName: "./etc/hostname" },
  // as cp -al makes them
  { name: "./etc/mtab.bak", type: "1", linkName: "./etc/mtab" },
  { name: "./dev/null", type: "3" },
  { name: "./dev/fd", type: "2", linkName: "/proc/self/fd" },
  { name: "./run/pipe", type: "6" },
  pax({ comment: "made by hand" }, "g"),
  pax({ path: `./etc/${"x".repeat(200)}`, mtime: "1.5", "SCHILY.xattr.user.note": "a\0b" }),
  { name: "./etc/short", data: "1" },
  long("L", `./etc/${"y".repeat(200)}`),
  { name: "./etc/shorter", data: "2" },
  { name: "deep", prefix: "./usr/share" },
  { name: "./bin/cap", data: "x".repeat(1000), mode: 0o4755 },
];

test.each([1, 511, 512, 513, 100_000])("takes what a root file system usually has, in pieces of %i bytes", (pieces) => {
  const { members, bytes, contents } = screen(tar(...USUAL), {
    pieces,
    wanted: ["etc/hostname", "etc/mtab", "etc/none"],
  });
  expect({ members, bytes, contents: [...contents] }).toEqual({
    members: 14,
    bytes: 4 + 1 + 1 + 1000,
    contents: [["etc/hostname", "box\n"]],
  });
});

test("takes an end that is longer than it must be, as tar pads it", () => {
  expect(screen(Buffer.concat([tar(...USUAL), Buffer.alloc(8192)])).members).toBe(14);
});

test("an archive that unpacks to more than there is room for is refused before its data came", () => {
  const screener = screenArchive({ source: "x.tar", limit: 1000 });
  expect(() => screener.take(memberBlocks({ name: "a", size: 1001 }).subarray(0, 512))).toThrow(
    "larger than the 1000 bytes",
  );
});

test("many small files are too many, too", () => {
  const screener = screenArchive({ source: "x.tar", limit: 2 ** 40 });
  const path = Array.from({ length: 2000 }, () => "d").join("/");
  const many = () => {
    for (let count = 0; count < 2000; count++) {
      for (const part of [pax({ path: `${count}/${path}` }), { name: "a" }]) screener.take(memberBlocks(part));
    }
  };
  expect(many).toThrow(/more than 1000000 files/);
});

test("names the member in a way that a terminal can bear", () => {
  expect(() => screen(tar({ name: "a\u001B[2Jb", type: "4" }))).toThrow(String.raw`"a\u001b[2Jb" is a device`);
});

const part = fc.constantFrom("a", "b", "c", ".", "..", "", "dev", "etc");
const anyName = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/"));
const member = fc.record({
  name: anyName,
  type: fc.constantFrom("0", "1", "2", "5", "5", "3"),
  linkName: fc.oneof(anyName, fc.constantFrom("/", "/etc", "../..")),
});

/** Where a file lands when a simple program unpacks without looking: follows links like a kernel does. */
function lands(members: readonly Member[]): string[] {
  const links = new Map<string, string>();
  const resolve = (path: string, depth = 0): string => {
    let at: string[] = [];
    const parts = path.split("/").filter((each) => each !== "" && each !== ".");
    for (const [index, each] of parts.entries()) {
      if (each === "..") {
        if (at.length === 0) return "OUT";
        at = at.slice(0, -1);
        continue;
      }
      at = [...at, each];
      const target = links.get(at.join("/"));
      if (target === undefined || index === parts.length - 1) continue;
      if (target.startsWith("/") || depth > 8) return "OUT";
      const next = resolve(`${at.slice(0, -1).join("/")}/${target}/x`, depth + 1);
      if (next === "OUT") return "OUT";
      at = next.split("/").slice(0, -1);
    }
    return at.join("/");
  };
  return members.map(({ name, type, linkName = "" }) => {
    if (name.startsWith("/")) return "OUT";
    const at = resolve(name);
    if (type === "2" && at !== "OUT") links.set(at, linkName);
    if (type === "1" && (linkName.startsWith("/") || resolve(linkName) === "OUT")) return "OUT";
    return at;
  });
}

test("whatever members there are: what passes lands in the tree, each in a place of its own", () => {
  let passed = 0;
  fc.assert(
    fc.property(fc.array(member, { minLength: 1, maxLength: 6 }), (members) => {
      const plain = members.map((each) => (each.type === "1" || each.type === "2" ? each : { ...each, linkName: "" }));
      try {
        screen(tar(...plain));
      } catch (error) {
        expect(error).toMatchObject({ name: "UserError" });
        return;
      }
      passed += 1;
      const places = lands(plain);
      expect(places).not.toContain("OUT");
      expect(new Set(places).size).toBe(places.length);
    }),
    { numRuns: 3000 },
  );
  expect(passed).toBeGreaterThan(100);
});

test("whatever bytes there are: they are refused in words, and nothing breaks", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), fc.nat(4000), fc.nat(2000), (noise, at, pieces) => {
      const archive = tar(...USUAL);
      archive.set(noise, Math.min(at, archive.length - noise.length));
      try {
        screen(archive, { pieces: pieces + 1 });
      } catch (error) {
        expect(error).toMatchObject({ name: "UserError" });
      }
    }),
    { numRuns: 500 },
  );
});
