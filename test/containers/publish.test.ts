import { expect, test } from "vitest";
import { publishContainer } from "../../src/containers/publish.ts";
import type { MemoryHost } from "../memory-host.ts";
import { CONTAINERS, TEMPLATES } from "../../src/paths.ts";
import type { ReportEvent } from "../../src/report/report.ts";
import { currentVersion, listTemplates } from "../../src/templates/manifest.ts";
import { setRunning } from "../debian-host.ts";
import { diesAt } from "../dies-at.ts";
import { VERSION_NAME } from "../installed-host.ts";
import { hostWith } from "./host-with.ts";

function publish(host: Parameters<typeof publishContainer>[0], events: ReportEvent[] = []) {
  return publishContainer(host, "web-01", "web", (event) => events.push(event));
}

test("a stopped container becomes the current version of a template, and stays as it is", async () => {
  const host = await hostWith("web-01");
  const before = host.tree.below(`${CONTAINERS}/web-01`);
  expect(await publish(host)).toMatchObject({
    name: "web",
    version: expect.stringMatching(/^\d{8}T\d{6}Z$/),
    origin: { type: "container", container: "web-01", template: `debian-base ${VERSION_NAME}` },
  });
  expect(await listTemplates(host)).toEqual(["debian-base", "web"]);
  expect(host.tree.below(`${CONTAINERS}/web-01`)).toEqual(before);
  expect(await host.list(TEMPLATES)).toEqual(["debian-base", "web"]);
});

test("what makes it this container is removed by find, which follows no link, and only from the snapshot", async () => {
  const host = await hostWith("web-01");
  await publish(host);
  const finds = host.changes.filter((change) => change.startsWith("run find ") && /-delete|-exec/.test(change));
  expect(finds).toHaveLength(1);
  for (const change of finds)
    expect(change).toMatch(new RegExp(`^run find ${TEMPLATES}/web/\\.new-[^ ]+/rootfs -xdev `));
  for (const path of ["ssh_host_", "machine-id", "random-seed", "credential.secret", "netclient", "journal"]) {
    expect(finds[0]).toContain(path);
  }
  const scripts = host.changes.filter((change) => change.startsWith("run perl "));
  expect(scripts).toHaveLength(1);
  expect(scripts[0]).toMatch(/ remove \/etc\/machine-id [^ ]*\.new-[^ ]+\/rootfs .*firstboot-done/);
  // nothing is written into the tree in another way
  expect(host.changes.filter((change) => /^(write|append|make directory|link) .*\/rootfs\//.test(change))).toEqual([]);
});

test("one that runs is refused, and one that is started meanwhile, too", async () => {
  const host = await hostWith("web-01");
  setRunning(host.tree, "web-01", true);
  await expect(publish(host)).rejects.toMatchObject({
    message: "web-01 is running",
    hint: expect.stringContaining("container stop web-01"),
  });
  setRunning(host.tree, "web-01", false);
  host.script("btrfs subvolume snapshot", ({ argv, tree }) => {
    tree.put(argv.at(-1) ?? "", { inode: 256 });
    setRunning(tree, "web-01", true);
  });
  await expect(publish(host)).rejects.toThrow("web-01 is running");
  expect(await listTemplates(host)).toEqual(["debian-base"]);
  expect(await host.list(TEMPLATES)).toEqual(["debian-base"]);
});

test("a subvolume of the guest's own is told: it is not in the snapshot", async () => {
  const host = await hostWith("web-01");
  const { tree } = host;
  host.script("find", ({ argv }) => {
    if (argv.includes("-delete")) tree.drop(`${argv[1]}/etc/ssh`);
    return argv.includes(String.raw`/%P\0`) ? "/var/lib/machines\0" : "";
  });
  const events: ReportEvent[] = [];
  await publish(host, events);
  expect(events).toContainEqual({ kind: "warn", text: expect.stringContaining("the subvolume /var/lib/machines") });
});

test("a secret that stays is refused", async () => {
  const host = await hostWith("web-01");
  host.tree.put(`${CONTAINERS}/web-01/rootfs/etc/netmaker/join-key`, { text: "secret" });
  host.script("perl -e", "");
  await expect(publish(host)).rejects.toThrow("The template holds a Netmaker join key (/etc/netmaker/join-key)");
  expect(await listTemplates(host)).toEqual(["debian-base"]);
});

test("there must be such a container", async () => {
  await expect(publishContainer(await hostWith(), "none", "web", () => {})).rejects.toThrow(
    "There is no container none",
  );
});

test("killed at any moment, it leaves nothing or all, and the container as it was", async () => {
  const before = (await hostWith("web-01")).tree.below(`${CONTAINERS}/web-01`);
  for (let cut = 0, ended = false; !ended; cut++) {
    const host: MemoryHost = await hostWith("web-01");
    ended = await publish(diesAt(host, cut)).then(
      () => true,
      () => false,
    );
    const current = await currentVersion(host, "web");
    if (current !== undefined)
      expect(await host.readText(`${TEMPLATES}/web/versions/${current}/manifest.json`)).toBeDefined();
    expect(host.tree.below(`${CONTAINERS}/web-01`)).toEqual(before);
    host.tree.put(`/proc/${process.pid}/stat`, { text: `${process.pid} (x) S${" 0".repeat(18)} 9999 1\n` });
    await publish(host);
    expect(await host.list(`${TEMPLATES}/web`)).toEqual(["rootfs", "versions"]);
  }
});
