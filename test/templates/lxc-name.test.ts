import { expect, test } from "vitest";
import { memoryHost } from "../../src/host/memory-host.ts";
import { hideFromLxc, offerToLxc } from "../../src/templates/lxc-name.ts";

const FOLDER = "/usr/share/lxc/templates";

test("a template is offered to lxc-create by its name, once, and hidden again", async () => {
  const host = memoryHost({ files: { [`${FOLDER}/lxc-debian-base`]: "#!/bin/sh\n" } });
  for (const name of ["own", "own", "debian-base"]) await offerToLxc(host, name);
  expect(host.changes).toEqual([`link ${FOLDER}/lxc-own to lxc-debian-base`]);
  for (const name of ["own", "own", "debian-base"]) await hideFromLxc(host, name);
  expect(await host.list(FOLDER)).toEqual(["lxc-debian-base"]);
});

test("a name that LXC has already stays LXC's", async () => {
  const host = memoryHost({ files: { [`${FOLDER}/lxc-download`]: "#!/bin/sh\n" } });
  await offerToLxc(host, "download");
  await hideFromLxc(host, "download");
  expect(await host.readText(`${FOLDER}/lxc-download`)).toBe("#!/bin/sh\n");
});

test("a host without LXC's folder gets none", async () => {
  const host = memoryHost();
  await offerToLxc(host, "own");
  await hideFromLxc(host, "own");
  expect(host.changes).toEqual([]);
});
