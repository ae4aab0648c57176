import { expect, test } from "vitest";
import { memoryHost } from "../memory-host.ts";
import { aptSources, type Pocket } from "../../src/templates/mirror.ts";
import { readFixture } from "../fixture.ts";

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";
const AUTO = { mirror: "auto", securityMirror: "auto" };
const SOURCE: { components: string[]; pockets: Pocket[] } = { components: ["main"], pockets: ["updates", "security"] };

function hostWith(indexTargets: string, files: Record<string, string> = {}) {
  return memoryHost({ files, commands: { "apt-get indextargets": indexTargets } });
}

const debian12 = () => hostWith(readFixture("apt/indextargets-debian-12.txt"));

test.each(["trixie", "bookworm"])(
  "takes the mirrors of a Debian 12 host for %s, without slashes at their ends",
  async (suite) => {
    const source = { ...SOURCE, components: ["main", "contrib"] };
    expect(await aptSources(debian12(), AUTO, suite, source)).toEqual({
      lines: [
        `deb http://deb.debian.org/debian ${suite} main contrib`,
        `deb http://deb.debian.org/debian ${suite}-updates main contrib`,
        `deb http://deb.debian.org/debian-security ${suite}-security main contrib`,
      ],
      lacksSecurity: false,
    });
  },
);

test("takes the mirrors of a Debian 13 host, and not those of Proxmox", async () => {
  const host = hostWith(readFixture("apt/indextargets-debian-13.txt"), { [KEYRING]: "" });
  expect((await aptSources(host, AUTO, "trixie", SOURCE)).lines).toEqual([
    `deb [signed-by=${KEYRING}] http://deb.debian.org/debian trixie main`,
    `deb [signed-by=${KEYRING}] http://deb.debian.org/debian trixie-updates main`,
    `deb [signed-by=${KEYRING}] http://security.debian.org/debian-security trixie-security main`,
  ]);
});

test("takes what there is, from the network only, and from Debian only; and tells that security updates lack", async () => {
  const host = hostWith(readFixture("apt/indextargets-debian-12-no-updates.txt"));
  expect(await aptSources(host, AUTO, "trixie", SOURCE)).toEqual({
    lines: ["deb https://mirror.example.org/pub/debian trixie main"],
    lacksSecurity: true,
  });
});

test("a mirror that was chosen does not cost the security updates", async () => {
  const mirrors = { ...AUTO, mirror: "http://mirror.example/debian/" };
  expect(await aptSources(debian12(), mirrors, "trixie", SOURCE)).toEqual({
    lines: [
      "deb http://mirror.example/debian trixie main",
      "deb http://mirror.example/debian trixie-updates main",
      "deb http://deb.debian.org/debian-security trixie-security main",
    ],
    lacksSecurity: false,
  });
});

test("an address with a password is not taken over into templates, where every container would see it", async () => {
  const targets = readFixture("apt/indextargets-debian-12.txt").replaceAll(
    "//deb.debian.org",
    "//me:sesame@deb.debian.org",
  );
  const told: unknown = await aptSources(hostWith(targets), AUTO, "trixie", SOURCE).catch((error: unknown) => error);
  expect(told).toMatchObject({ exitCode: 3, message: expect.stringContaining("has a password in its address") });
  expect(String(told)).not.toContain("sesame");
  const mirrors = { ...AUTO, mirror: "http://mirror.example/debian" };
  expect(await aptSources(hostWith(targets), mirrors, "trixie", SOURCE)).toMatchObject({ lacksSecurity: true });
});

test("where both were chosen, apt is not asked", async () => {
  const mirrors = { mirror: "http://mirror.example/debian", securityMirror: "http://mirror.example/security/" };
  expect((await aptSources(memoryHost(), mirrors, "trixie", SOURCE)).lines).toEqual([
    "deb http://mirror.example/debian trixie main",
    "deb http://mirror.example/debian trixie-updates main",
    "deb http://mirror.example/security trixie-security main",
  ]);
});

test.each([
  ["a definition that wants no pockets", "trixie", []],
  ["sid, which has none", "sid", SOURCE.pockets],
])("%s gets the suite alone, and nothing lacks", async (_, suite, pockets) => {
  const mirrors = { ...AUTO, mirror: "http://mirror.example/debian" };
  expect(await aptSources(memoryHost(), mirrors, suite, { ...SOURCE, pockets })).toEqual({
    lines: [`deb http://mirror.example/debian ${suite} main`],
    lacksSecurity: false,
  });
});

test.each(["", "http://download.proxmox.com/debian/pve/ trixie pve-no-subscription Proxmox\n"])(
  "says what to do where apt has no lists of Debian",
  async (listed) => {
    await expect(aptSources(hostWith(listed), AUTO, "trixie", SOURCE)).rejects.toMatchObject({
      exitCode: 3,
      hint: expect.stringMatching(/^apt-get update/),
    });
  },
);

const UBUNTU = { components: ["main", "universe"], pockets: SOURCE.pockets, distribution: "ubuntu" } as const;
const UBUNTU_KEYRING = "/usr/share/keyrings/ubuntu-archive-keyring.gpg";

test("Ubuntu comes from its own archive, signed by its own key, whatever Debian's mirrors are", async () => {
  const host = memoryHost({ files: { [UBUNTU_KEYRING]: "" } });
  const mirrors = { mirror: "http://mirror.example/debian", securityMirror: "http://mirror.example/security" };
  expect((await aptSources(host, mirrors, "noble", UBUNTU)).lines).toEqual([
    `deb [signed-by=${UBUNTU_KEYRING}] http://archive.ubuntu.com/ubuntu noble main universe`,
    `deb [signed-by=${UBUNTU_KEYRING}] http://archive.ubuntu.com/ubuntu noble-updates main universe`,
    `deb [signed-by=${UBUNTU_KEYRING}] http://security.ubuntu.com/ubuntu noble-security main universe`,
  ]);
});

test("Ubuntu has mirrors of its own, and pockets only where they are wanted", async () => {
  const host = memoryHost({ files: { [UBUNTU_KEYRING]: "" } });
  const mirrors = {
    ...AUTO,
    ubuntuMirror: "http://mirror.example/ubuntu/",
    ubuntuSecurityMirror: "http://mirror.example/usec",
  };
  expect((await aptSources(host, mirrors, "noble", { ...UBUNTU, pockets: ["security"] })).lines).toEqual([
    `deb [signed-by=${UBUNTU_KEYRING}] http://mirror.example/ubuntu noble main universe`,
    `deb [signed-by=${UBUNTU_KEYRING}] http://mirror.example/usec noble-security main universe`,
  ]);
});

test("without the key of Ubuntu's archive nothing of it is built, and the package is named", async () => {
  await expect(aptSources(memoryHost(), AUTO, "noble", UBUNTU)).rejects.toMatchObject({
    exitCode: 3,
    message: expect.stringContaining(UBUNTU_KEYRING),
    hint: "apt-get install --no-install-recommends ubuntu-keyring",
  });
});
