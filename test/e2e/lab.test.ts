import { readdirSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { listLoopDevices } from "../../lab/disk.ts";
import { type LabNode, startNode, stopNode } from "../../lab/node.ts";
import { labCache } from "../../lab/paths.ts";

describe.each(["bookworm", "trixie"] as const)("a %s node", (suite) => {
  const name = `lab-${suite}`;
  let node: LabNode;

  beforeAll(async () => {
    await stopNode(name);
    node = await startNode({ name, suite });
  });
  afterAll(() => stopNode(name));

  test("has a systemd of its own that is content", async () => {
    const init = await node.run(["cat", "/proc/1/comm"]);
    expect(init.stdout).toBe("systemd\n");
    const state = await node.run(["systemctl", "is-system-running"]);
    expect(state.stdout).toBe("running\n");
    const release = await node.run(["sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME; hostname"]);
    expect(release.stdout).toBe(`${suite}\n${name}\n`);
  });

  test("cannot set the clock, which is this machine's", async () => {
    const before = Date.now();
    expect((await node.run(["date", "--set", "2020-01-01"])).exitCode).not.toBe(0);
    expect(Date.now()).toBeGreaterThanOrEqual(before);
  });

  test("answers on D-Bus", async () => {
    const names = await node.run(["busctl", "list", "--no-legend"]);
    expect(names.stdout).toContain("org.freedesktop.systemd1");
  });

  test("gives exit codes, output and error output apart, and leaves arguments alone", async () => {
    const script = 'echo "$1" "$GREETING"; cat; echo oh >&2; exit 7';
    const argv = ["sh", "-c", script, "sh", "$HOME ${HOME} %h $$"];
    const result = await node.run(argv, { input: "from stdin\n", env: { GREETING: "a b" } });
    expect(result).toEqual({ exitCode: 7, stdout: "$HOME ${HOME} %h $$ a b\nfrom stdin\n", stderr: "oh\n" });
  });

  test("kills what takes too long", async () => {
    const result = await node.run(["sh", "-c", "echo begun; sleep 300"], { timeoutMs: 500 });
    expect(result).toEqual({ exitCode: 124, stdout: "begun\n", stderr: "killed after 0.5 s\n" });
    const left = await node.run(["pgrep", "-x", "sleep"]);
    expect(left.stdout).toBe("");
  });

  test("kills a spawned command's main process and leaves its children", async () => {
    const running = await node.spawn(["sh", "-c", "sleep 300 & echo ready; wait"]);
    await running.kill("SIGKILL");
    const result = await running.done;
    expect(result.exitCode).toBe(255);
    const child = await node.run(["pkill", "-x", "sleep"]);
    expect(child.exitCode).toBe(0);
  });

  test("interrupts a spawned command", async () => {
    const running = await node.spawn([
      "bash",
      "-c",
      "trap 'echo interrupted; exit 3' INT; while :; do sleep 0.05; done",
    ]);
    // The trap is set a moment after the shell has started.
    await node.run(["sleep", "0.2"]);
    await running.kill("SIGINT");
    expect(await running.done).toEqual({ exitCode: 3, stdout: "interrupted\n", stderr: "" });
  });

  test("reaches the package mirror", async () => {
    const update = await node.run(["apt-get", "update", "--error-on=any"]);
    expect(update).toMatchObject({ exitCode: 0 });
  });

  test("keeps its kernel settings to itself", async () => {
    const before = readFileSync("/proc/sys/vm/swappiness", "utf8");
    const shared = await node.run(["sh", "-c", "echo 1 >/proc/sys/vm/swappiness"]);
    expect(shared.exitCode).not.toBe(0);
    expect(readFileSync("/proc/sys/vm/swappiness", "utf8")).toBe(before);
    const own = await node.run(["sysctl", "net.ipv4.ip_forward=1"]);
    expect(own.exitCode).toBe(0);
  });

  test("mounts btrfs from a file, and keeps its files over reboot and crash", async () => {
    const mount = "mkdir -p /pool && mount -o loop /pool.img /pool";
    const make = await node.run([
      "sh",
      "-ec",
      `truncate -s 1G /pool.img; mkfs.btrfs -q /pool.img; ${mount}; btrfs subvolume create /pool/a`,
    ]);
    expect(make).toMatchObject({ exitCode: 0 });
    expect(await listLoopDevices(node.root)).toHaveLength(1);

    await node.run(["sh", "-c", "echo one >/pool/a/file; echo two >/root/file"]);
    const earlierBoot = await node.run(["cat", "/proc/1/stat"]);
    await node.reboot();
    expect((await node.run(["cat", "/proc/1/stat"])).stdout).not.toBe(earlierBoot.stdout);
    expect(await listLoopDevices(node.root)).toEqual([]);
    const afterReboot = await node.run(["sh", "-ec", `${mount}; cat /pool/a/file /root/file`]);
    expect(afterReboot).toEqual({ exitCode: 0, stdout: "one\ntwo\n", stderr: "" });

    await node.run(["sh", "-c", "echo three >/pool/a/file; echo four >/root/file; sync"]);
    await node.crash();
    const afterCrash = await node.run(["sh", "-ec", `${mount}; cat /pool/a/file /root/file`]);
    expect(afterCrash).toEqual({ exitCode: 0, stdout: "three\nfour\n", stderr: "" });
  });

  test("starts others from its disk, and goes on itself", async () => {
    await writeFile(join(node.root, "root/layer"), "shared\n");
    await node.saveLayer(`${name}-layer`);
    const others = [`${name}-1`, `${name}-2`];
    try {
      for (const other of others) {
        const started = await startNode({ name: other, layer: `${name}-layer`, network: false });
        const look = await started.run([
          "sh",
          "-ec",
          "cat /root/layer /etc/hostname; mount -o loop /pool.img /pool; cat /pool/a/file",
        ]);
        expect(look).toEqual({ exitCode: 0, stdout: `shared\n${other}\nthree\n`, stderr: "" });
        await started.run(["sh", "-c", "echo changed >/root/layer"]);
      }
    } finally {
      for (const other of others) await stopNode(other);
    }
    expect((await node.run(["cat", "/root/layer"])).stdout).toBe("shared\n");
  });

  test("leaves nothing when it is stopped", async () => {
    // A loop device that no mount holds, which the kernel would not free by itself.
    const loop = await node.run(["losetup", "--find", "--show", "/pool.img"]);
    expect(loop).toMatchObject({ exitCode: 0 });
    expect(await traces(name)).not.toEqual([]);
    await node.stop();
    expect(await traces(name)).toEqual([]);
    expect(readFileSync(`/sys/class/block/${loop.stdout.trim().slice("/dev/".length)}/size`, "utf8")).toBe("0\n");
  });
});

test("a node of a harness that was killed ends with it, and is cleaned up by the next", async () => {
  const name = "lab-orphan";
  const script = `
    import { startNode } from ${JSON.stringify(join(import.meta.dirname, "../../lab/node.ts"))};
    await startNode({ name: ${JSON.stringify(name)} });
    process.kill(process.pid, "SIGKILL");
  `;
  const harness = await execa(process.execPath, ["--input-type=module", "--eval", script], { reject: false });
  expect(harness.signal).toBe("SIGKILL");
  expect(await traces(name)).not.toEqual([]);

  const next = await startNode({ name: "lab-next", network: false });
  expect(await traces(name)).toEqual([]);
  await next.stop();
});

/** What this machine shows of a node: mounts, groups, processes, directories. */
async function traces(name: string): Promise<string[]> {
  const mounts = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  const groups = await execa("find", ["/sys/fs/cgroup", "-type", "d", "-name", `opdbus-lab-*-${name}`]);
  return [
    ...mounts.filter((line) => line.includes(`/nodes/${name}/`)),
    ...groups.stdout.split("\n").filter((line) => line !== ""),
    ...readdirSync("/proc").filter((pid) => commandLine(pid).includes(`/nodes/${name}\0`)),
    ...readdirSync(join(labCache, "nodes")).filter((directory) => directory === name),
  ];
}

function commandLine(pid: string): string {
  try {
    return /^\d+$/.test(pid) ? readFileSync(`/proc/${pid}/cmdline`, "utf8") : "";
  } catch {
    // It has ended since.
    return "";
  }
}
