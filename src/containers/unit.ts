import type { CommandOptions, Host, HostView } from "../host/host.ts";

/** Containers run as instances of Debian's own unit, so that they never live or die with ours. */
export function unitOf(name: string): string {
  return `lxc@${name}.service`;
}

/** Makes a container start with the host, or not. */
export async function setOnboot(host: Host, name: string, onboot: boolean, options?: CommandOptions): Promise<void> {
  await host.run(["systemctl", onboot ? "enable" : "disable", "--quiet", unitOf(name)], options);
}

/** Whether a container starts with the host. */
export async function startsOnBoot(host: HostView, name: string, options?: CommandOptions): Promise<boolean> {
  return (await host.probe(["systemctl", "is-enabled", unitOf(name)], options)).stdout.trim() === "enabled";
}

/** A container that was killed, or did not start, leaves its unit marked as failed, and the host as degraded. */
export async function clearFailure(host: Host, name: string): Promise<void> {
  const shielded = { shielded: true };
  const state = await host.probe(["systemctl", "is-failed", unitOf(name)], shielded);
  if (state.stdout.trim() === "failed") await host.run(["systemctl", "reset-failed", unitOf(name)], shielded);
}

/** What the unit said since then, its last lines. */
export async function unitLog(host: HostView, name: string, since: Date): Promise<string> {
  const log = await host.probe([
    "journalctl",
    "--no-pager",
    "--output=cat",
    `--since=@${Math.floor(since.getTime() / 1000)}`,
    "--unit",
    unitOf(name),
    "--lines=12",
  ]);
  return log.stdout.trim();
}
