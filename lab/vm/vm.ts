import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { shellText } from "../../src/host/command-failed.ts";
import { buildQemuImage, type Suite } from "../image.ts";
import { findProcess, isAlive, killProcess, startInBackground, waitUntil } from "../processes.ts";
import type { Finished } from "../run-in-node.ts";
import { type CommandPort, openCommandPort } from "./command-port.ts";
import { buildVmDisk } from "./disk.ts";

/**
 * A fresh Debian host on Debian's own kernel, with AppArmor and all cgroup
 * controllers, which the nodes on this machine's kernel lack. QEMU translates
 * its instructions (no KVM is needed), so it is right and slow: some 15 times.
 */
export interface Vm {
  /** Runs a command as root. Never rejects for a non-zero exit. */
  run(argv: readonly string[], options?: { timeoutMs?: number }): Promise<Finished>;
  /** Goes down in order and comes up again. */
  reboot(): Promise<void>;
  /** Ends it at once; nothing that it wrote is kept. */
  stop(): Promise<void>;
}

const BOOT_MS = 600_000;
const RUNTIME = "opdbus-vm-";

/** Removes what harnesses left that were killed; their machines ended with them. */
async function removeAbandoned(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    if (!name.startsWith(RUNTIME)) continue;
    const owner = Number(name.slice(RUNTIME.length).split("-")[0]);
    if (findProcess(owner) === undefined) await rm(join(tmpdir(), name), { recursive: true, force: true });
  }
}

/** Boots such a host. @throws Error with the end of its console when it does not come up */
export async function startVm(suite: Suite): Promise<Vm> {
  const disk = await buildVmDisk(suite);
  const qemuRoot = await buildQemuImage();
  // A short path: sockets have a limit of 108 characters.
  await removeAbandoned();
  const runtime = await mkdtemp(join(tmpdir(), `${RUNTIME}${process.pid}-`));
  const machine = startQemu(qemuRoot, dirname(disk.image), runtime);
  const stop = async () => {
    port?.close();
    await killProcess(machine);
    await rm(runtime, { recursive: true, force: true });
  };
  let port: CommandPort | undefined;
  try {
    await waitUntil(() => existsSync(join(runtime, "port")), { timeoutMs: 20_000, what: "QEMU to start" });
    port = await openCommandPort(join(runtime, "port"));
    await waitForSystem(port);
  } catch (error) {
    const console = readFileSync(join(runtime, "console.log"), "utf8").split("\n").slice(-30).join("\n");
    await stop();
    throw new Error(`Unable to boot a ${suite} machine. Its console ended with:\n${console}`, { cause: error });
  }
  const opened = port;
  return {
    async run(argv, { timeoutMs = 300_000 } = {}) {
      if (!isAlive(machine)) throw new Error("The virtual machine has ended");
      const finished = await opened.ask(shellText(argv), timeoutMs);
      return finished ?? { exitCode: 124, stdout: "", stderr: `no answer within ${timeoutMs / 1000} s\n` };
    },
    async reboot() {
      const before = await opened.ask("cat /proc/sys/kernel/random/boot_id", 60_000);
      await opened.ask("systemctl reboot", 5_000);
      await waitForSystem(opened, before?.stdout);
    },
    stop,
  };
}

const QEMU_OPTIONS: readonly (readonly [option: string, value: string])[] = [
  ["-machine", "q35"],
  ["-accel", "tcg,thread=multi"],
  ["-cpu", "max"],
  ["-smp", "2"],
  ["-m", "2048"],
  ["-display", "none"],
  ["-nic", "none"],
  ["-serial", "file:/run/vm/console.log"],
  ["-kernel", "/run/disk/vmlinuz"],
  ["-initrd", "/run/disk/initrd.img"],
  ["-append", "root=/dev/vda rootfstype=ext4 rw console=ttyS0 panic=10 quiet"],
  ["-drive", "file=/run/disk/disk.ext4,if=virtio,format=raw,cache=unsafe,snapshot=on"],
  ["-device", "virtio-serial"],
  ["-chardev", "socket,id=port,path=/run/vm/port,server=on,wait=off"],
  ["-device", "virtserialport,chardev=port,name=lab"],
];

/** The QEMU of its image, on the disk's folder and ours, with a disk whose changes are forgotten. */
function startQemu(qemuRoot: string, diskFolder: string, runtime: string) {
  const qemu = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", ...QEMU_OPTIONS.flat()];
  const script = `mkdir -p "$1/run/disk" "$1/run/vm"
    mount --bind "$2" "$1/run/disk"
    mount --bind "$3" "$1/run/vm"
    mount --bind /dev "$1/dev"
    root=$1; shift 3
    TMPDIR=/run/vm exec chroot "$root" "$@"`;
  const namespace = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh"];
  const argv = [...namespace, qemuRoot, diskFolder, runtime, ...qemu];
  const child = startInBackground(argv, join(runtime, "console.log"), { keep: false });
  const started = findProcess(child.pid);
  if (started === undefined) throw new Error(`QEMU of ${basename(qemuRoot)} did not start`);
  return started;
}

/** Waits until systemd says that it runs, after a boot that is not this one. */
async function waitForSystem(port: CommandPort, bootBefore = ""): Promise<void> {
  const ready = async () => {
    const asked = await port.ask("cat /proc/sys/kernel/random/boot_id; systemctl is-system-running --wait", 15_000);
    const [boot, state] = (asked?.stdout ?? "").split("\n");
    return `${boot}\n` !== bootBefore && ["running", "degraded"].includes(state ?? "");
  };
  await waitUntil(ready, { timeoutMs: BOOT_MS, what: "its systemd to say that it runs" });
}
