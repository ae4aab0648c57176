import { expect, test } from "vitest";
import { type ContainerRequest, createContainer, prepareCreate } from "../../src/containers/create.ts";
import { Interrupted } from "../../src/host/errors.ts";
import type { Host } from "../../src/host/host.ts";
import { CONTAINERS } from "../../src/paths.ts";
import { debianHost, processStat } from "../debian-host.ts";
import { diesAt } from "../dies-at.ts";
import { installedHost, VERSION_NAME } from "../installed-host.ts";

const REQUEST: ContainerRequest = {
  template: "debian-base",
  network: "none",
  cores: 2,
  memoryMiB: 512,
  swapMiB: 0,
  sshKeys: [],
  limits: "enforce",
};

async function create(host: Host, name = "web-01", request = REQUEST) {
  return createContainer(host, name, await prepareCreate(host, request));
}

test("a container is a snapshot, a record and a configuration, and a link for LXC", async () => {
  const host = installedHost();
  const record = await create(host, "web-01", { ...REQUEST, ip: "10.0.0.5/24", network: "socket" });
  expect(record).toMatchObject({ name: "web-01", templateVersion: VERSION_NAME, ip: "10.0.0.5/24", network: "socket" });
  const folder = `${CONTAINERS}/web-01`;
  expect(JSON.parse((await host.readText(`${folder}/container.json`)) ?? "")).toEqual(record);
  expect(await host.stat(folder)).toMatchObject({ mode: 0o700, uid: 0 });
  expect(await host.stat(`${folder}/config`)).toMatchObject({ mode: 0o600 });
  expect(await host.stat(`${folder}/container.json`)).toMatchObject({ mode: 0o600 });
  expect(await host.stat(`${folder}/rootfs`)).toMatchObject({ inode: 256 });
  expect((await host.probe(["btrfs", "property", "get", `${folder}/rootfs`, "ro"])).stdout).toBe("ro=false\n");
  expect(await host.readText(`${folder}/rootfs/etc/debian_version`)).toBe("13.2\n");
  expect(await host.readLink("/var/lib/lxc/web-01")).toBe(folder);
  expect(await host.list(CONTAINERS)).toEqual(["web-01"]);
});

test("takes a version that is not the current one", async () => {
  const host = installedHost();
  const old = "/var/lib/op-dbus/@templates/debian-base/versions/20250101T000000Z/rootfs";
  host.tree.put(old, { inode: 256 });
  expect(await create(host, "web-01", { ...REQUEST, templateVersion: "20250101T000000Z" })).toMatchObject({
    templateVersion: "20250101T000000Z",
  });
});

test.each([
  ["there is no pool", debianHost, {}, "There is no pool"],
  ["the network is not there yet", installedHost, { network: "mesh" }, "Mesh networking is not there yet"],
  ["the template was not built", installedHost, { template: "ubuntu" }, "There is no template ubuntu on this host"],
  [
    "the version was not built",
    installedHost,
    { templateVersion: "1" },
    "There is no template debian-base in version 1",
  ],
] as const)("refuses when %s, and changes nothing", async (_, make, request, message) => {
  const host = make();
  await expect(create(host, "web-01", { ...REQUEST, ...request })).rejects.toMatchObject({
    exitCode: 3,
    message: expect.stringContaining(message),
    hint: expect.stringMatching(/./),
  });
  expect(host.changes).toEqual([]);
});

test("refuses when root has no ids for containers", async () => {
  const host = installedHost({ files: { "/etc/subuid": "" } });
  await expect(create(host)).rejects.toMatchObject({ exitCode: 3, hint: "opdbus-pve install" });
});

test("a limit that this host cannot enforce is an error, or said in the record", async () => {
  const host = installedHost({ files: { "/sys/fs/cgroup/cgroup.controllers": "memory pids\n" } });
  await expect(create(host)).rejects.toThrow("This host cannot limit cores: its cgroup2 has no such controller");
  expect(await create(host, "web-01", { ...REQUEST, limits: "best-effort" })).toMatchObject({
    limitsNotInForce: ["cores"],
  });
  const config = await host.readText(`${CONTAINERS}/web-01/config`);
  expect(config).toContain("lxc.cgroup2.memory.max = 512M");
  expect(config).not.toContain("cpu.max");
});

test("a name of ours is taken", async () => {
  const host = installedHost();
  await create(host);
  host.forget();
  await expect(create(host)).rejects.toThrow("There is a container web-01 already");
  expect(host.changes).toEqual([]);
});

test.each([
  ["a folder", { "/var/lib/lxc/web-01/config": "" }],
  ["a link to somewhere else", { "/var/lib/lxc/web-01": { target: "/srv/web-01" } }],
])("a name that LXC has as %s is taken, and stays as it is", async (_, files) => {
  const host = installedHost({ files });
  await expect(create(host)).rejects.toThrow("LXC has a container web-01 already that is not ours");
  expect(host.changes).toEqual([]);
});

test("a link of our own that a destroy left is no obstacle", async () => {
  const host = installedHost({ files: { "/var/lib/lxc/web-01": { target: `${CONTAINERS}/web-01` } } });
  await create(host);
  expect(await host.list(CONTAINERS)).toEqual(["web-01"]);
});

const DRAFT = {
  "/var/lib/lxc/web-01/config": "lxc.rootfs.path = dir:/var/lib/lxc/web-01/rootfs\n",
  "/var/lib/lxc/web-01/partial": "",
  "/var/lib/lxc/web-01/rootfs/": "",
};

/** What lxc-create does when the script of a template has failed. */
async function clearDraft(host: Host): Promise<void> {
  expect((await host.list("/var/lib/lxc/web-01")) ?? []).toEqual(["config", "partial", "rootfs"]);
  await host.remove("/var/lib/lxc/web-01");
}

async function createForLxc(host: Host) {
  return createContainer(host, "web-01", await prepareCreate(host, REQUEST), true);
}

test("takes the place of what lxc-create has begun, which it can finish", async () => {
  const host = installedHost({ files: DRAFT });
  await expect(create(host)).rejects.toThrow("LXC has a container web-01 already");
  expect(await createForLxc(host)).toMatchObject({ name: "web-01" });
  expect(await host.list("/var/lib/lxc")).toEqual(["web-01"]);
  expect(await host.readLink("/var/lib/lxc/web-01")).toBe(`${CONTAINERS}/web-01`);
  // it is removed by lxc-create; for others it is not there (open(2))
  expect(await host.readLink("/var/lib/lxc/web-01/partial")).toBe(undefined);
  expect(await host.readLink(`${CONTAINERS}/web-01/partial`)).toBe("nowhere");
});

test.each([
  ["nothing", {}],
  ["a container", { "/var/lib/lxc/web-01/config": "", "/var/lib/lxc/web-01/rootfs/etc/": "" }],
  ["a file system in the place of a folder", { ...DRAFT, "/var/lib/lxc/web-01/rootdev": "" }],
  ["files in it", { ...DRAFT, "/var/lib/lxc/web-01/rootfs/etc/passwd": "root" }],
])("does not take the place of %s", async (_, files) => {
  const host = installedHost({ files });
  await expect(createForLxc(host)).rejects.toThrow("/var/lib/lxc/web-01 is not what lxc-create leaves");
  expect(host.changes).toEqual([]);
});

test("a failure leaves what lxc-create has begun to lxc-create", async () => {
  for (let cut = 0; ; cut++) {
    const host = installedHost({ files: DRAFT });
    let count = 0;
    const failing = (verb: "makeDirectory" | "createText" | "makeLink" | "rename" | "run") => {
      const original = host[verb] as (...args: unknown[]) => Promise<unknown>;
      return async (...args: unknown[]) => {
        if (count++ === cut) throw Object.assign(new Error("ENOSPC"), { code: "ENOSPC" });
        return original(...args);
      };
    };
    const verbs = ["makeDirectory", "createText", "makeLink", "rename", "run"] as const;
    const broken = { ...host, ...Object.fromEntries(verbs.map((verb) => [verb, failing(verb)])) } as Host;
    const failure: unknown = await createForLxc(broken).catch((error) => error);
    if (!(failure instanceof Error)) break;
    expect(failure.message).toContain("ENOSPC");
    await clearDraft(host);
    expect(await host.list(CONTAINERS)).toEqual([]);
    expect(await host.list("/var/lib/lxc")).toEqual([]);
    expect(cut).toBeLessThan(20);
  }
});

test("killed at any moment it leaves what lxc-create has begun, or a container; and the next create clears away the rest", async () => {
  for (let cut = 0; ; cut++) {
    const host = installedHost({ files: DRAFT });
    const ended = await createForLxc(diesAt(host, cut)).then(
      () => true,
      () => false,
    );
    host.tree.put(`/proc/${process.pid}/stat`, { text: processStat(process.pid, 9999) });
    if ((await host.readLink("/var/lib/lxc/web-01")) === undefined && (await host.stat("/var/lib/lxc/web-01")))
      await clearDraft(host);
    await create(host, "db");
    const made = (await host.list(CONTAINERS))?.includes("web-01");
    expect(await host.list(CONTAINERS)).toEqual(made ? ["db", "web-01"] : ["db"]);
    const linked = (await host.list("/var/lib/lxc")) ?? [];
    expect(linked.filter((name) => !["db", "web-01"].includes(name))).toEqual([]);
    if (made) expect(await host.stat(`${CONTAINERS}/web-01/rootfs`)).toMatchObject({ inode: 256 });
    if (ended) break;
    expect(cut).toBeLessThan(30);
  }
});

/** A host on which one operation fails: a command that begins so, or a file operation on such a path. */
function failingAt(host: Host, operation: "makeDirectory" | "createText" | "rename" | "makeLink", path: RegExp): Host {
  const original = host[operation] as (...args: unknown[]) => Promise<void>;
  return {
    ...host,
    [operation]: async (...args: string[]) => {
      if (args.some((each) => path.test(each))) throw Object.assign(new Error("ENOSPC"), { code: "ENOSPC" });
      return original(...args);
    },
  };
}

test.each([
  ["makeDirectory", /\.new-/],
  ["createText", /container\.json$/],
  ["createText", /\/config$/],
  ["rename", /\.new-/],
  ["makeLink", /^\/var\/lib\/lxc/],
] as const)("a failure of %s on %s leaves nothing behind", async (operation, path) => {
  const host = installedHost();
  const prepared = await prepareCreate(host, REQUEST);
  await expect(createContainer(failingAt(host, operation, path), "web-01", prepared)).rejects.toThrow("ENOSPC");
  expect(await host.list(CONTAINERS)).toEqual([]);
  expect(await host.list("/var/lib/lxc")).toEqual([]);
  await expect(create(host)).resolves.toMatchObject({ name: "web-01" });
});

test("a failing snapshot leaves nothing behind, and says why", async () => {
  const host = installedHost({
    commands: { "btrfs subvolume snapshot": { exitCode: 1, stderr: "ERROR: No space left on device\n" } },
  });
  await expect(create(host)).rejects.toThrow(/No space left on device$/);
  expect(await host.list(CONTAINERS)).toEqual([]);
});

test("an interruption leaves nothing behind, though every further command is refused", async () => {
  const host = installedHost();
  const prepared = await prepareCreate(host, REQUEST);
  let interrupted = false;
  const interruptible: Host = {
    ...host,
    probe: (argv, options) =>
      interrupted && !options?.shielded ? Promise.reject(new Interrupted()) : host.probe(argv),
    run: async (argv, options) => {
      if (!options?.shielded) interrupted ||= argv.includes("snapshot");
      const result = await host.run(argv);
      if (interrupted && !options?.shielded) throw new Interrupted();
      return result;
    },
  };
  await expect(createContainer(interruptible, "web-01", prepared)).rejects.toThrow(Interrupted);
  expect(await host.list(CONTAINERS)).toEqual([]);
});

test("a name that LXC gives away while we work is left to whom it was given", async () => {
  const host = installedHost();
  host.script("btrfs subvolume snapshot", ({ argv, tree }) => {
    tree.put("/var/lib/lxc/web-01/config", { text: "theirs" });
    tree.put(argv.at(-1) ?? "", { inode: 256 });
  });
  await expect(create(host)).rejects.toThrow("LXC has a container web-01 already that is not ours");
  expect(await host.readText("/var/lib/lxc/web-01/config")).toBe("theirs");
  expect(await host.list(CONTAINERS)).toEqual([]);
});

test("of two creates of one name one wins, and the other says so and leaves nothing", async () => {
  const host = installedHost();
  const prepared = await prepareCreate(host, REQUEST);
  // another process gets there between our look and our rename
  const overtaken: Host = {
    ...host,
    rename: (from, to) => {
      host.tree.put(`${to}/container.json`, { text: "theirs" });
      return host.rename(from, to);
    },
  };
  await expect(createContainer(overtaken, "web-01", prepared)).rejects.toThrow("There is a container web-01 already");
  expect(await host.list(CONTAINERS)).toEqual(["web-01"]);
  expect(await host.list(`${CONTAINERS}/web-01`)).toEqual(["container.json"]);
  expect(await host.list("/var/lib/lxc")).toEqual([]);
});

test("what a killed create left is removed by the next", async () => {
  const host = installedHost();
  host.tree.put(`${CONTAINERS}/.new-99-1-web-01/rootfs`, { inode: 256 });
  await create(host, "db");
  expect(await host.list(CONTAINERS)).toEqual(["db"]);
});

test("more keys than one environment string can carry are refused before anything is made", async () => {
  const key = `ssh-ed25519 ${"A".repeat(500)}`;
  const host = installedHost();
  const sshKeys = Array.from({ length: 200 }, () => key);
  await expect(create(host, "web-01", { ...REQUEST, sshKeys })).rejects.toMatchObject({ exitCode: 2 });
  expect(host.changes).toEqual([]);
  await create(host, "web-01", { ...REQUEST, sshKeys: sshKeys.slice(0, 180) });
  const config = (await host.readText(`${CONTAINERS}/web-01/config`)) ?? "";
  const variable = /^lxc\.environment = (.*)$/m.exec(config)?.[1] ?? "";
  expect(variable.length).toBeGreaterThan(100_000);
  // MAX_ARG_STRLEN of linux/binfmts.h, with the zero at its end
  expect(variable.length).toBeLessThan(131_072);
});

test("a host whose /var/lib/lxc was removed gets it again", async () => {
  const host = installedHost();
  host.tree.drop("/var/lib/lxc");
  await create(host);
  expect(await host.readLink("/var/lib/lxc/web-01")).toBe(`${CONTAINERS}/web-01`);
});
