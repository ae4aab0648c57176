import { join } from "node:path";
import type { Host, HostView } from "../../host/host.ts";
import { refuseMountsIn } from "../../host/mounts.ts";
import { PACKAGE, SERVICE, SETTINGS } from "../../paths.ts";
import { TREE } from "../../tree.ts";
import { planShippedFiles, type ShippedFile, writeShippedFiles } from "../shipped-files.ts";
import { changesNeeded, type Finding, OK, type Step } from "../step.ts";

const FOLDERS = [SETTINGS, `${SETTINGS}/conf.d`, `${SETTINGS}/templates.d`];

/** Step 10: the program as its package brought it, the settings, and the service. */
export function programStep(): Step {
  return {
    id: "program",
    title: "Set up the program and its service",
    notYet: ["the API daemon behind opdbus.socket"],
    async check(host) {
      const whole = await checkPackage(host);
      if (whole.state !== "ok") return whole;
      const changes: string[] = [];
      for (const folder of FOLDERS) if ((await host.stat(folder)) === undefined) changes.push(`Create ${folder}`);
      changes.push(...(await planShippedFiles(host, await settingsFiles(host))));
      const enabled = (await host.probe(["systemctl", "is-enabled", SERVICE])).stdout.trim() === "enabled";
      const active = (await host.probe(["systemctl", "is-active", SERVICE])).stdout.trim() === "active";
      if (!enabled || !active) changes.push(`Enable and start ${SERVICE}`);
      return changesNeeded(changes);
    },
    async apply(host, report) {
      for (const folder of FOLDERS) {
        if ((await host.stat(folder)) === undefined) await host.makeDirectory(folder, { mode: 0o755 });
      }
      await writeShippedFiles(host, await settingsFiles(host), report);
      await enableService(host);
    },
    removal: {
      async check(host, degree) {
        if (degree === "program" || (await host.stat(SETTINGS)) === undefined) return OK;
        await refuseMountsIn(host, SETTINGS);
        return changesNeeded([`Remove ${SETTINGS} with all settings, definitions and credentials in it`]);
      },
      apply: (host) => host.remove(SETTINGS),
    },
  };
}

async function settingsFiles(host: HostView): Promise<ShippedFile[]> {
  const text = await host.readText(join(TREE, "opdbus.toml"));
  return text === undefined ? [] : [{ path: `${SETTINGS}/opdbus.toml`, text }];
}

async function enableService(host: Host): Promise<void> {
  await host.run(["systemctl", "enable", "--quiet", SERVICE]);
  // one that waited in vain for the pool at boot has failed, or was skipped
  await host.run(["systemctl", "restart", SERVICE]);
}

/** Whether this is the program of the package, and as the package brought it (dpkg(1), --verify). */
async function checkPackage(host: HostView): Promise<Finding> {
  const packaged = await host.probe(["dpkg-query", "--listfiles", PACKAGE]);
  if (!packaged.stdout.split("\n").includes(join(TREE, "package.json"))) {
    return {
      state: "blocked",
      reason: `this program runs from ${TREE}, and a node runs the one of the Debian package ${PACKAGE}`,
      hint: `apt install ./${PACKAGE}_*.deb && /usr/bin/${PACKAGE} install`,
    };
  }
  const verified = await host.probe(["dpkg", "--verify", PACKAGE]);
  const altered = verified.stdout
    .split("\n")
    .flatMap((line) => /\s(\/\S.*)$/.exec(line)?.[1] ?? [])
    // these may be left out by the host's own rule (dpkg.cfg(5), path-exclude)
    .filter((path) => !/^\/usr\/share\/(doc|man|locale|lintian)\//.test(path));
  if (altered.length === 0) return OK;
  const some = `${altered.slice(0, 3).join(", ")}${altered.length > 3 ? " and more" : ""}`;
  return {
    state: "blocked",
    reason: `not as the package brought it: ${some}`,
    hint: `apt install --reinstall ./${PACKAGE}_*.deb`,
  };
}
