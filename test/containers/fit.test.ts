import { expect, test } from "vitest";
import { findMisfits } from "../../src/containers/fit.ts";
import { containerFolder } from "../../src/containers/record.ts";
import { startContainer } from "../../src/containers/start.ts";
import { examine } from "../../src/doctor/examine.ts";
import { hostWith } from "./host-with.ts";

test("a container of this host fits it", async () => {
  const host = await hostWith("web-01");
  expect(await findMisfits(host, "web-01")).toEqual([]);
});

test("one that LXC does not know yet is told, and a start makes it known", async () => {
  const host = await hostWith("web-01");
  host.tree.drop("/var/lib/lxc/web-01");
  const told = {
    what: "LXC does not know the container web-01: /var/lib/lxc/web-01 is missing",
    mend: expect.stringMatching(/^op-dbus container start web-01 /),
  };
  expect(await findMisfits(host, "web-01")).toEqual([told]);
  expect(await examine(host, [])).toContainEqual(expect.objectContaining({ code: "container", ...told }));
  await startContainer(host, "web-01");
  expect(await findMisfits(host, "web-01")).toEqual([]);
});

const TWO = "root:100000:65536\nroot:231072:65536\n";

test.each([
  [
    "root's range lies elsewhere",
    "root:231072:65536\n",
    "root:231072:65536\n",
    /^sed -i '.* 231072 65536\/' \S+config$/,
  ],
  ["the ids are another user's", "alice:100000:65536\nroot:231072:65536\n", "root:231072:65536\n", /231072/],
  ["the groups are another's", "root:100000:65536\n", "root:231072:65536\n", /^opdbus-pve install$/],
  ["root has none", "", "", /^opdbus-pve install$/],
  ["another user has a part of them, too", `alice:165535:65536\n${TWO}`, TWO, /231072/],
  ["root has a part of them only", "root:100000:65535\nroot:231072:65536\n", TWO, /231072/],
])("one from a host with other ids is not started where %s", async (_, subuid, subgid, mend) => {
  const host = await hostWith("web-01");
  host.tree.put("/etc/subuid", { text: subuid });
  host.tree.put("/etc/subgid", { text: subgid });
  host.forget();
  await expect(startContainer(host, "web-01")).rejects.toMatchObject({
    message: "web-01 would run with the ids from 100000, which are not root's alone on this host",
    hint: expect.stringMatching(mend),
  });
  expect(host.changes).toEqual([]);
  expect(await findMisfits(host, "web-01")).toHaveLength(1);
});

test("groups of another host are found, too", async () => {
  const host = await hostWith("web-01");
  const config = `${containerFolder("web-01")}/config`;
  host.tree.put(config, {
    text: (host.tree.get(config)?.text ?? "").replace("lxc.idmap = g 0 100000", "lxc.idmap = g 0 7000000"),
  });
  expect(await findMisfits(host, "web-01")).toEqual([
    expect.objectContaining({ what: expect.stringContaining("the ids from 7000000") }),
  ]);
});

test("ids of a second range of root's, or of none, are the admin's choice", async () => {
  const host = await hostWith("web-01");
  for (const file of ["/etc/subuid", "/etc/subgid"]) host.tree.put(file, { text: "root:5000:10\nroot:100000:65536\n" });
  expect(await findMisfits(host, "web-01")).toEqual([]);
  const config = `${containerFolder("web-01")}/config`;
  host.tree.put(config, { text: (host.tree.get(config)?.text ?? "").replaceAll(/^lxc\.idmap.*\n/gm, "") });
  expect(await findMisfits(host, "web-01")).toEqual([]);
});
