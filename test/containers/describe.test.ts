import { expect, test } from "vitest";
import { describeContainers } from "../../src/containers/describe.ts";
import { CONTAINERS } from "../../src/paths.ts";
import { setRunning } from "../debian-host.ts";
import { hostWith } from "./host-with.ts";

/** Of these, web-01 and db run. */
async function hostRunning(...names: string[]) {
  const host = await hostWith(...names);
  for (const name of ["web-01", "db"]) setRunning(host.tree, name, true);
  return host;
}

function edit(host: Awaited<ReturnType<typeof hostRunning>>, path: string, change: (text: string) => string): void {
  host.tree.put(path, { text: change(host.tree.get(path)?.text ?? "") });
}

test("describes what is there, by name, and whether it runs", async () => {
  const host = await hostRunning("web-01", "app", "db");
  host.tree.put(`${CONTAINERS}/.new-1-1-x/config`, { text: "" });
  const found = await describeContainers(host);
  expect(found.map(({ name, running }) => [name, running])).toEqual([
    ["app", false],
    ["db", true],
    ["web-01", true],
  ]);
  expect(found.every((one) => "record" in one && one.record.cores === 1)).toBe(true);
});

test.each([
  [
    "a record that is no JSON",
    "container.json",
    () => "{",
    /^Unable to read the record of db: .*container\.json is broken$/,
  ],
  ["a record that says nothing", "container.json", () => "null", /container\.json is broken$/],
  [
    "the record of another",
    "container.json",
    (text: string) => text.replace('"db"', '"web-01"'),
    /container\.json is broken$/,
  ],
  [
    "a configuration with a line of nonsense",
    "config",
    (text: string) => `# mine\n\n${text}`.replace("lxc.signal", "signal"),
    /db\/config, line 16 is no line of LXC's: signal\.halt = SIGRTMIN\+3$/,
  ],
  [
    "another root file system",
    "config",
    (text: string) => text.replace(/dir:\S+/, "dir:/"),
    /config does not name the container's root file system but dir:\/$/,
  ],
  ["a second root file system", "config", (text: string) => `${text}lxc.rootfs.path = dir:/srv\n`, /but dir:\/srv$/],
  ["an empty configuration", "config", () => "", /root file system but none$/],
])("%s is told with its file, and hides no other container", async (_, file, change, message) => {
  const host = await hostRunning("app", "db", "web-01");
  edit(host, `${CONTAINERS}/db/${file}`, change);
  const found = await describeContainers(host);
  expect(found.map(({ name }) => name)).toEqual(["app", "db", "web-01"]);
  expect(found[1]).toEqual({
    name: "db",
    running: true,
    broken: expect.stringMatching(message),
    mend: expect.stringContaining(CONTAINERS),
  });
});

test("a folder without a record is told", async () => {
  const host = await hostRunning("db");
  host.tree.drop(`${CONTAINERS}/db/container.json`);
  expect(await describeContainers(host)).toEqual([
    {
      name: "db",
      running: true,
      broken: expect.stringContaining("container.json is missing"),
      mend: expect.any(String),
    },
  ]);
});

test("lines that an admin adds are lines of LXC", async () => {
  const host = await hostRunning("db");
  edit(
    host,
    `${CONTAINERS}/db/config`,
    (text) =>
      `${text}\n  lxc.mount.entry = /srv srv none bind 0 0\n#x\nlxc.hook.start-host = /bin/x\nlxc.sysctl.net/ipv4/x-y=1\n`,
  );
  expect((await describeContainers(host))[0]).toHaveProperty("record");
});
