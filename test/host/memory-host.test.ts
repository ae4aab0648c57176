import { expect, test } from "vitest";
import { CommandFailed } from "../../src/host/command-failed.ts";
import { memoryHost } from "../memory-host.ts";

test("an unscripted command throws, by name, also for who would swallow a failed one", async () => {
  const host = memoryHost({ commands: { "btrfs subvolume create": "" } });
  await expect(host.run(["btrfs", "subvolume", "created"])).rejects.toThrow(
    "unscripted command: btrfs subvolume created",
  );
  expect(host.unscripted).toEqual(["btrfs subvolume created"]);
});

test("the longest beginning of a command decides, and the last script of it", async () => {
  const host = memoryHost({ commands: { getent: 2, "getent group": "users:x:100:\n" } });
  expect(await host.probe(["getent", "passwd", "x"])).toMatchObject({ exitCode: 2 });
  expect(await host.probe(["getent", "group", "users"])).toMatchObject({ stdout: "users:x:100:\n", exitCode: 0 });
  host.script("getent group", { exitCode: 3, stderr: "no answer" });
  expect(await host.probe(["getent", "group", "users"])).toMatchObject({ exitCode: 3, stdout: "" });
});

test("keeps the rule of reading verbs, and the failing of commands", async () => {
  const host = memoryHost({ commands: { rm: "", false: { exitCode: 1, stderr: "no\n" } } });
  await expect(host.probe(["rm", "x"])).rejects.toThrow(/^not a reading verb/);
  await expect(host.run(["false"])).rejects.toThrow(CommandFailed);
});

test("counts calls that change, and not those that look", async () => {
  const host = memoryHost({ files: { "/etc/name": "x", "/var/": "" }, commands: { sync: "", getent: "" } });
  await host.readText("/etc/name");
  await host.list("/");
  await host.probe(["getent", "passwd"]);
  expect(host.changes).toEqual([]);
  await host.run(["sync"]);
  await host.writeText("/etc/name", "y");
  await host.remove("/nothing");
  expect(host.changes).toEqual(["run sync", "write /etc/name", "remove /nothing"]);
});

test("answers like a file system", async () => {
  const host = memoryHost({ files: { "/etc/name": "x", "/var/": "", "/link": { target: "etc" } } });
  expect(await host.list("/")).toEqual(["etc", "link", "var"]);
  expect(await host.readText("/link/name")).toBe("x");
  expect(await host.stat("/link")).toMatchObject({ type: "link" });
  await expect(host.writeText("/none/file", "")).rejects.toMatchObject({ code: "ENOENT" });
  await expect(host.makeLink("/x", "/var")).rejects.toMatchObject({ code: "EEXIST" });
  await expect(host.rename("/var", "/etc")).rejects.toMatchObject({ code: "ENOTEMPTY" });
  await host.rename("/etc", "/var");
  expect(await host.readText("/var/name")).toBe("x");
  await host.makeDirectory("/var", { mode: 0o700, gid: 5 });
  expect(await host.stat("/var")).toMatchObject({ mode: 0o700, gid: 5, uid: 0 });
  expect(await host.readText("/var/name")).toBe("x");
});

test("a sealed subvolume can neither be written nor removed as files", async () => {
  const host = memoryHost({ files: { "/pool/sealed": { inode: 256, properties: { ro: "true" } } } });
  await expect(host.writeText("/pool/sealed/file", "")).rejects.toMatchObject({ code: "EROFS" });
  await expect(host.remove("/pool")).rejects.toMatchObject({ code: "EROFS" });
});

test("hands its tree, the input and the options to what stands for a command", async () => {
  const host = memoryHost({
    commands: {
      seq: "1\n2\n",
      "wc -l": ({ options, tree }) => {
        tree.put("/counted", { text: options.input ?? "" });
        return "2\n";
      },
    },
  });
  expect((await host.pipe(["seq", "2"], ["wc", "-l"])).stdout).toBe("2\n");
  expect(await host.readText("/counted")).toBe("1\n2\n");
  expect(host.commands).toEqual(["seq 2", "wc -l"]);
});

test("holds a lock for one only", async () => {
  const host = memoryHost();
  const release = await host.lock("/run/lock", "me");
  await expect(host.lock("/run/lock", "you")).rejects.toMatchObject({ exitCode: 6 });
  await release();
  await host.lock("/run/lock", "you");
});
