import { expect, test } from "vitest";
import { cachedSettings } from "../../src/config/cached-settings.ts";
import { Interrupted, UserError } from "../../src/host/errors.ts";
import { memoryHost } from "../memory-host.ts";

const MAIN = "/etc/opdbus/opdbus.toml";
const cores = (number: number) => `[container.defaults]\ncores = ${number}\n`;

test("settings are read again when a file changes, comes or goes, and only then", async () => {
  const host = memoryHost({ files: { [MAIN]: cores(3), "/run/": "" } });
  const inForce = async () => (await cachedSettings(host)).container.defaults.cores;
  expect(await inForce()).toBe(3);
  host.forget();
  expect(await inForce()).toBe(3);
  expect(host.changes).toEqual([]);
  await host.writeText(MAIN, cores(4));
  expect(await inForce()).toBe(4);
  await host.makeDirectory("/etc/opdbus/conf.d");
  await host.writeText("/etc/opdbus/conf.d/a.toml", cores(5));
  expect(await inForce()).toBe(5);
  await host.remove("/etc/opdbus/conf.d/a.toml");
  expect(await inForce()).toBe(4);
});

test("a machine that cannot keep them gives them all the same", async () => {
  const host = memoryHost({ files: { [MAIN]: cores(3), "/run/": "" } });
  const full = () => Promise.reject(new UserError("Unable to change /run/opdbus: no space is left on the disk"));
  expect((await cachedSettings({ ...host, writeText: full })).container.defaults.cores).toBe(3);
  const interrupted = () => Promise.reject(new Interrupted());
  await expect(cachedSettings({ ...host, writeText: interrupted })).rejects.toThrow("interrupted");
});

test("nonsense is refused also where good settings were kept, and a broken cache is no obstacle", async () => {
  const host = memoryHost({ files: { [MAIN]: cores(3), "/run/": "" } });
  await cachedSettings(host);
  await host.writeText(MAIN, "[container]\nnonsense = 1\n");
  await expect(cachedSettings(host)).rejects.toMatchObject({ exitCode: 2 });
  await host.writeText(MAIN, cores(6));
  await host.writeText("/run/opdbus/settings.json", "{");
  expect((await cachedSettings(host)).container.defaults.cores).toBe(6);
});
