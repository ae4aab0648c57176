import { END, long, memberBlocks, pax, paxRecord, tar } from "./tar-writer.ts";

/** An archive that must not be unpacked. */
export interface HostileArchive {
  readonly trick: string;
  readonly archive: Buffer;
  /** What the refusal says. */
  readonly why: RegExp;
}

const OUT = "/opdbus-escaped";
const UP = `${"../".repeat(12)}opdbus-escaped`;
const folder = (name: string) => ({ name, type: "5", mode: 0o755 });
const link = (name: string, linkName: string) => ({ name, type: "2", linkName });
const hard = (name: string, linkName: string) => ({ name, type: "1", linkName });
const file = (name: string) => ({ name, data: "hostile" });
const device = (name: string, type: string) => ({
  name,
  type,
  device: type === "3" ? ([1, 1] as const) : ([8, 0] as const),
});

function hostile(trick: string, why: RegExp, archive: Buffer): HostileArchive {
  return { trick, archive, why };
}

/** One archive for each trick that unpacked elsewhere, or fooled those who looked first. */
export const HOSTILE: readonly HostileArchive[] = [
  hostile("an absolute name", /is absolute/, tar(file(OUT))),
  hostile("an absolute name with two slashes", /is absolute/, tar(file(`/${OUT}`))),
  hostile("an absolute name in a pax header", /is absolute/, tar(pax({ path: OUT }), file("a"))),
  hostile("an absolute name in GNU's header", /is absolute/, tar(long("L", OUT), file("a"))),
  hostile("an absolute prefix", /is absolute/, tar({ ...file("escaped"), prefix: "/opdbus" })),
  hostile("a name that climbs", /leads out of the tree/, tar(file(UP))),
  hostile("a name that climbs from a folder", /leads out of the tree/, tar(folder("a/"), file(`a/${UP}`))),
  hostile("a name that climbs in a prefix", /leads out of the tree/, tar({ ...file("escaped"), prefix: ".." })),
  hostile("a name that climbs in a pax header", /leads out of the tree/, tar(pax({ path: UP }), file("a"))),
  hostile("a name that climbs in GNU's header", /leads out of the tree/, tar(long("L", UP), file("a"))),
  hostile("a name that is ..", /leads out of the tree/, tar(folder(".."))),
  hostile("a name that climbs and comes back", /leads out of the tree/, tar(file("a/../b"))),
  hostile("a file through a link", /lies below/, tar(link("a", "/"), file("a/opdbus-escaped"))),
  hostile("a file through a link that climbs", /lies below/, tar(link("a", "../../../.."), file("a/opdbus-escaped"))),
  hostile("a file through two links", /lies below/, tar(link("a", "/"), link("b", "a"), file("b/opdbus-escaped"))),
  hostile("a file through a link with another spelling", /lies below/, tar(link("./a", "/"), file(".//a/./x"))),
  hostile(
    "a file through a link whose name is in a pax header",
    /lies below/,
    tar(pax({ path: "a" }), link("x", "/"), file("a/x")),
  ),
  hostile(
    "a file through a link whose target is in a pax header",
    /lies below/,
    tar(pax({ linkpath: "/" }), link("a", "b"), file("a/x")),
  ),
  hostile(
    "a folder in the place of a link",
    /comes twice/,
    tar(link("a", "/"), folder("a/"), file("a/opdbus-escaped")),
  ),
  hostile(
    "a link in the place of a folder",
    /comes twice/,
    tar(folder("a/"), link("a", "/"), file("a/opdbus-escaped")),
  ),
  hostile(
    "a link in the place of a folder that is not empty",
    /comes twice/,
    tar(file("a/b"), link("a", "/"), file("a/c")),
  ),
  hostile("a link in the place of the root", /comes twice/, tar(link("./", "/"), file("opdbus-escaped"))),
  hostile("a file in the place of the root", /comes twice/, tar(file("."))),
  hostile(
    "a file through a link in the place of /dev",
    /lies below/,
    tar(link("dev", "/"), file("dev/opdbus-escaped")),
  ),
  hostile("a file over a link", /comes twice/, tar(link("a", "/etc/opdbus-escaped"), file("a"))),
  hostile("a file over a link with another spelling", /comes twice/, tar(link("a", "/etc/x"), file("./a"))),
  hostile("a file twice", /comes twice/, tar(file("a"), file("./a"))),
  hostile("a folder twice", /comes twice/, tar(folder("a/"), folder("./a"))),
  hostile("the root twice", /comes twice/, tar(folder("./"), folder("."))),
  hostile("a file below a file", /lies below/, tar(file("a"), file("a/b"))),
  hostile("a hard link out of the tree", /is absolute/, tar(hard("a", "/etc/shadow"))),
  hostile("a hard link that climbs", /leads out of the tree/, tar(hard("a", "../../../../etc/shadow"))),
  hostile(
    "what lies below a second name of a link",
    /lies below "b", which is no folder/,
    tar(link("a", "/etc"), hard("b", "a"), file("b/shadow")),
  ),
  hostile("a hard link through a link", /no file before it/, tar(link("a", "/etc"), hard("b", "a/shadow"))),
  hostile("a hard link to nothing", /no file before it/, tar(hard("a", "etc/shadow"))),
  hostile("a hard link to itself", /no file before it/, tar(hard("a", "a"))),
  hostile("a hard link to a folder", /no file before it/, tar(folder("a/"), hard("b", "a"))),
  hostile("a hard link to what comes later", /no file before it/, tar(hard("b", "a"), file("a"))),
  hostile(
    "a hard link whose target is in a pax header",
    /is absolute/,
    tar(file("b"), pax({ linkpath: "/etc/shadow" }), hard("a", "b")),
  ),
  hostile(
    "a hard link whose target is in GNU's header",
    /is absolute/,
    tar(file("b"), long("K", "/etc/shadow"), hard("a", "b")),
  ),
  hostile(
    "a hard link with a size",
    /has a size/,
    tar(file("a"), { ...hard("b", "a"), size: 512, data: "x".repeat(512) }),
  ),
  hostile("a hard link into /dev", /into \/dev/, tar(file("dev/a"), hard("b", "dev/a"))),
  hostile("the host's disk", /is a device/, tar(device("disk", "4"))),
  hostile("the host's memory", /is a device/, tar(folder("etc/"), device("etc/mem", "3"))),
  hostile("a device in the place of /dev", /is a device/, tar(device("dev", "4"))),
  hostile("a device that only seems to lie in /dev", /is a device/, tar(device("devices/sda", "4"))),
  hostile("a device that climbs out of /dev", /leads out of the tree/, tar(device("dev/../sda", "4"))),
  hostile("a sparse file of GNU's old format", /odd type "S"/, tar({ ...file("a"), type: "S", magic: "ustar  \0" })),
  hostile(
    "a sparse file of a pax header",
    /sparse/,
    tar(pax({ "GNU.sparse.major": "1", "GNU.sparse.name": OUT }), file("a")),
  ),
  hostile("a multi-volume member", /odd type "M"/, tar({ ...file("a"), type: "M" })),
  hostile("a volume's name", /odd type "V"/, tar({ ...file("a"), type: "V" })),
  hostile("a list of what to delete", /odd type "D"/, tar({ ...file("a"), type: "D" })),
  hostile("a member of a type that nobody knows", /odd type/, tar({ ...file("a"), type: "Z" })),
  hostile("a name for all members at once", /of all its members at once/, tar(pax({ path: OUT }, "g"), file("a"))),
  hostile("a charset of names", /carries "hdrcharset"/, tar(pax({ hdrcharset: "BINARY" }), file("a"))),
  hostile(
    "an attribute of the host's own",
    /carries "SCHILY.xattr.trusted/,
    tar(pax({ "SCHILY.xattr.trusted.overlay.opaque": "y" }), file("a")),
  ),
  hostile(
    "a label of SELinux",
    /carries "SCHILY.xattr.security.selinux/,
    tar(pax({ "SCHILY.xattr.security.selinux": "x" }), file("a")),
  ),
  hostile("a name with a zero byte", /impossible path/, tar(pax({ path: `a\0${UP}` }), file("a"))),
  hostile(
    "a pax record that is said twice",
    /path twice/,
    tar(pax(paxRecord("path", "a") + paxRecord("path", OUT)), file("a")),
  ),
  hostile("a pax record of a wrong length", /broken pax header/, tar(pax("9 path=a\n12 path=b\n"), file("a"))),
  hostile("a pax record that is longer than its header", /broken pax header/, tar(pax("99 path=a\n"), file("a"))),
  hostile("two pax headers for one member", /two headers/, tar(pax({ path: "a" }), pax({ path: OUT }), file("a"))),
  hostile("two long names for one member", /two headers/, tar(long("L", "a"), long("L", OUT), file("a"))),
  hostile("names of two kinds for one member", /two names/, tar(long("L", OUT), pax({ path: "a" }), file("a"))),
  hostile("names of two kinds, the other way round", /two names/, tar(pax({ path: "a" }), long("L", OUT), file("a"))),
  hostile("targets of two kinds", /two names/, tar(pax({ linkpath: "a" }), long("K", "/etc"), link("b", "c"))),
  hostile(
    "a size that hides members",
    /is no tar archive/,
    tar(pax({ size: "0" }), { ...file("a"), data: Buffer.from("x".repeat(1024)) }),
  ),
  hostile("a size of a folder", /has a size/, tar({ ...folder("a/"), size: 512, data: memberBlocks(file(OUT)) })),
  hostile("a size of a link", /has a size/, tar({ ...link("a", "b"), size: 512, data: "x".repeat(512) })),
  hostile("a negative size", /is no tar archive|impossible size/, tar({ ...file("a"), size: "\u00ff".repeat(12) })),
  hostile("a size beyond all numbers", /impossible size/, tar({ ...file("a"), size: `\u0080${"\u007f".repeat(11)}` })),
  hostile("a size larger than the disk", /larger than/, tar({ ...file("a"), size: "77777777777\0" })),
  hostile("a size in letters", /is no tar archive/, tar({ ...file("a"), size: "12xyz\0" })),
  hostile(
    "a checksum that is wrong",
    /is no tar archive/,
    tar({ ...file("a"), damage: (block) => block.fill(120, 0, 5) }),
  ),
  hostile("members behind the end", /goes on behind its end/, Buffer.concat([tar(file("a")), tar(file(OUT))])),
  hostile(
    "members behind half an end",
    /goes on behind its end/,
    Buffer.concat([memberBlocks(file("a")), END.subarray(0, 512), tar(file(OUT))]),
  ),
  hostile("no end", /cut short/, memberBlocks(file("a"))),
  hostile("half a member", /cut short/, memberBlocks({ ...file("a"), size: 4096 })),
  hostile("a header that belongs to nothing", /cut short/, tar(file("a"), pax({ path: "b" }))),
  hostile("nothing", /cut short/, Buffer.alloc(0)),
  hostile("nothing but an end", /is empty/, tar()),
  hostile("what is no archive", /is no tar archive/, Buffer.from("x".repeat(2048))),
  hostile("a format of old", /old or unknown format/, tar({ ...file("a"), magic: "\0".repeat(8) })),
  hostile("a name of no letters", /without a name/, tar(file(""))),
  hostile("a name that is too long", /too long/, tar(pax({ path: "x".repeat(256) }), file("a"))),
  hostile("a path that is too long", /too long/, tar(pax({ path: "x/".repeat(2100) }), folder("a/"))),
  hostile("a header of the size of a disk", /impossible size/, tar({ name: "x", type: "x", size: "77777777777\0" })),
  hostile("a link to nothing", /link to nothing/, tar(link("a", ""))),
];
