import * as fc from "fast-check";
import { expect, test } from "vitest";
import { ID_RANGE_SIZE } from "../../src/config/limits.ts";
import { findIdRange, nextFreeId } from "../../src/containers/id-range.ts";
import { environmentStep } from "../../src/install/steps/environment.ts";
import { debianHost } from "../debian-host.ts";

function hostWith(subuid: string, subgid = subuid) {
  return debianHost({ files: { "/etc/subuid": subuid, "/etc/subgid": subgid } });
}

test.each([
  ["root's range", "alice:100000:65536\nroot:165536:65536\n", 165536],
  ["root's range by number", "0:200000:65536\n", 200000],
  ["a wide range of root", "root:1000000:1000000000\n", 1000000],
  ["the one of root's that is wide enough", "root:100000:1000\nroot:300000:65536\n", 300000],
])("takes %s", async (_, text, start) => {
  expect(await findIdRange(hostWith(text))).toBe(start);
});

test.each([
  ["nobody has one", "", ""],
  ["only others have one", "alice:100000:65536\n", "alice:100000:65536\n"],
  ["root's is too small", "root:100000:65535\n", "root:100000:65535\n"],
  ["users and groups differ", "root:100000:65536\n", "root:200000:65536\n"],
  ["there is none of groups", "root:100000:65536\n", ""],
  ["the line is damaged", "root:100000\n#root:100000:65536\nroot:x:65536\n", "root:100000:65536\n"],
  [
    "root shares it with a user, who could act as a container's root",
    "root:100000:65536\nalice:100000:65536\n",
    "root:100000:65536\n",
  ],
  ["a user's range of groups reaches into it", "root:100000:65536\n", "root:100000:65536\nalice:165535:65536\n"],
])("finds none where %s", async (_, subuid, subgid) => {
  expect(await findIdRange(hostWith(subuid, subgid))).toBeUndefined();
});

test("starts at useradd's first id, or above every range in use", async () => {
  expect(await nextFreeId(hostWith(""))).toBe(100_000);
  expect(await nextFreeId(hostWith("alice:100000:65536\n", "bob:300000:100\n"))).toBe(300_100);
});

test("the installer's range is root's own, whatever others have, and is kept afterwards", async () => {
  const owner = fc.constantFrom("alice", "bob", "root", "0", "lxd");
  // few places to begin at, so that ranges meet, overlap and are shared
  const start = fc.constantFrom(100_000, 132_768, 165_536, 231_072, 1_000_000);
  const range = fc.record({ owner, start, size: fc.constantFrom(1, 65_535, 65_536, 200_000) });
  const ranges = fc.array(range, { maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(ranges, ranges, ranges, async (both, onlyUsers, onlyGroups) => {
      const [users, groups] = [
        [...both, ...onlyUsers],
        [...both, ...onlyGroups],
      ];
      const text = (all: typeof users) => all.map((one) => `${one.owner}:${one.start}:${one.size}\n`).join("");
      const host = hostWith(text(users), text(groups));
      const before = await findIdRange(host);
      await environmentStep().apply(host, () => {});
      const found = (await findIdRange(host)) ?? Number.NaN;
      if (before !== undefined) expect(found).toBe(before);
      const others = [...users, ...groups].filter((one) => !["root", "0"].includes(one.owner));
      for (const other of others) {
        expect(other.start + other.size <= found || found + ID_RANGE_SIZE <= other.start).toBe(true);
      }
      expect(await environmentStep().check(host)).toEqual({ state: "ok" });
    }),
    { numRuns: 500 },
  );
});

test("does not invent ids beyond those that Linux has", async () => {
  const host = hostWith("alice:100000:4294850000\n");
  expect(await environmentStep().check(host)).toMatchObject({ state: "blocked" });
});
