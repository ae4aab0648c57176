import { expect, test } from "vitest";
import { memoryHost } from "../../src/host/memory-host.ts";
import { aptSources } from "../../src/templates/mirror.ts";
import { readFixture } from "../fixture.ts";

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

function hostWith(indexTargets: string, files: Record<string, string> = {}) {
  return memoryHost({ files, commands: { "apt-get indextargets": indexTargets } });
}

test.each(["trixie", "bookworm"])(
  "takes the mirrors of a Debian 12 host for %s, without slashes at their ends",
  async (suite) => {
    const host = hostWith(readFixture("apt/indextargets-debian-12.txt"));
    expect(await aptSources(host, "auto", suite, ["main", "contrib"])).toEqual([
      `deb http://deb.debian.org/debian ${suite} main contrib`,
      `deb http://deb.debian.org/debian ${suite}-updates main contrib`,
      `deb http://deb.debian.org/debian-security ${suite}-security main contrib`,
    ]);
  },
);

test("takes the mirrors of a Debian 13 host, and not those of Proxmox", async () => {
  const host = hostWith(readFixture("apt/indextargets-debian-13.txt"), { [KEYRING]: "" });
  expect(await aptSources(host, "auto", "trixie", ["main"])).toEqual([
    `deb [signed-by=${KEYRING}] http://deb.debian.org/debian trixie main`,
    `deb [signed-by=${KEYRING}] http://deb.debian.org/debian trixie-updates main`,
    `deb [signed-by=${KEYRING}] http://security.debian.org/debian-security trixie-security main`,
  ]);
});

test("takes what there is, from the network only, and from Debian only", async () => {
  const host = hostWith(readFixture("apt/indextargets-debian-12-no-updates.txt"));
  expect(await aptSources(host, "auto", "trixie", ["main"])).toEqual([
    "deb https://mirror.example.org/pub/debian trixie main",
  ]);
});

test("a mirror that was chosen is taken alone, and apt is not asked", async () => {
  expect(await aptSources(memoryHost(), "http://mirror.example/debian/", "trixie", ["main"])).toEqual([
    "deb http://mirror.example/debian trixie main",
  ]);
});

test.each(["", "http://download.proxmox.com/debian/pve/ trixie pve-no-subscription Proxmox\n"])(
  "says what to do where apt has no lists of Debian",
  async (listed) => {
    await expect(aptSources(hostWith(listed), "auto", "trixie", ["main"])).rejects.toMatchObject({
      exitCode: 3,
      hint: expect.stringMatching(/^apt-get update/),
    });
  },
);
