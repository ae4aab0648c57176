import { expect, test } from "vitest";
import { candidates } from "../../src/cli/complete.ts";
import { makeProgram } from "../../src/cli/program.ts";
import { hostWith } from "../containers/host-with.ts";

const words = async (line: string) => {
  const host = await hostWith("web-01", "web-02", "db");
  for (const snapshot of ["monday", "before-upgrade"]) {
    host.tree.put(`/var/lib/op-dbus/@containers/web-01/snapshots/${snapshot}/rootfs`, { inode: 256 });
  }
  return (await candidates(makeProgram(), line.split(" "), host)).map(([word]) => word);
};

test.each([
  ["ins", ["install"]],
  ["container sta", ["start"]],
  ["container start ", ["db", "web-01", "web-02"]],
  ["container start web-01 w", ["web-02"]],
  ["container show web-01 ", []],
  ["container create ", []],
  ["container create x --network ", ["socket", "mesh", "none"]],
  ["container create x --template d", ["debian-base"]],
  ["container create x --cores ", []],
  ["container create x --network none --net", []],
  ["container create x --ne", ["--network"]],
  ["container exec web-01 -- --", []],
  ["container rollback web-01 ", ["before-upgrade", "monday"]],
  ["container rollback --start web-01 m", ["monday"]],
  ["container delsnapshot web-01 monday ", ["before-upgrade"]],
  ["container rollback web-02 ", []],
  ["container snapshot web-01 ", []],
  ["template use debian-base ", [expect.stringMatching(/^\d{8}T\d{6}Z$/)]],
  ["template remove ", ["debian-base"]],
  ["template build de", ["debian-base"]],
  ["audit ", ["log", "verify", "help"]],
  ["nonsense more ", []],
  ["install --dry-run --ex", ["--exit-code"]],
])("%j can go on with %j", async (line, expected) => {
  expect(await words(line)).toEqual(expected);
});

test("commands that are not for people are not offered", async () => {
  expect(await words("")).not.toContain("complete");
});
