import { afterAll, beforeAll, expect, test } from "vitest";
import { listLoopDevices } from "../../lab/disk.ts";
import { type LabNode, startNode, stopNode } from "../../lab/node.ts";
import { bringDeb, buildLabDeb, packagedLayer } from "../../lab/program.ts";

// Two hundred kills in all. Each series ends with a run that nobody disturbs, and the host is then what it is where
// nobody was killed: the same tree, and no subvolume, mount, loop device or half-written file that belongs to nothing.

const POOL = "/var/lib/op-dbus";
/** Printed with a failure, and given again to see the same moments: OPDBUS_TEST_SEED=… */
const SEED = Number(process.env["OPDBUS_TEST_SEED"] ?? Date.now() % 2 ** 31);
const SMALL = `description = "small"
packages = ["tzdata"]
[source]
type = "mmdebstrap"
suites = ["trixie"]
variant = "apt"
`;

let node: LabNode;
/** This very package, and one of a later version, in the node. */
let deb: string;
let later: string;
const sh = async (script: string) => {
  const { exitCode, stdout, stderr } = await node.run(["sh", "-ec", script]);
  if (exitCode !== 0) throw new Error(`${script}\nexited with ${exitCode} (seed ${SEED}):\n${stdout}${stderr}`);
  return stdout;
};

/** Numbers from 0 to 1 that a seed decides (mulberry32). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
const next = random(SEED);

/** Starts a command and kills it after up to so many milliseconds; says whether it had ended by then. */
async function killed(argv: readonly string[], within: number): Promise<void> {
  const running = await node.spawn(argv);
  await new Promise((resolve) => setTimeout(resolve, next() * within));
  await running.kill("SIGKILL");
  await running.done;
}

/** What a host has of us, but for what differs from run to run: when it was, and what grows with each change. */
const host = () =>
  sh(`find /etc/opdbus /etc/systemd /etc/subuid /etc/subgid /var/lib/op-dbus /var/lib/opdbus-pve /usr/lib/opdbus-pve /var/lib/lxc /var/cache/opdbus-pve /run/lock \\
      -path '*/rootfs/*' -prune -o -path /var/cache/opdbus-pve/'*' -prune -o -printf '%p %y %m %U:%G %l\\n' |
    sed -E 's/[0-9]{8}T[0-9]{6}Z/VERSION/g; s/-[0-9]{8} /-DAY /' | sort
    btrfs subvolume list ${POOL} | sed -E 's/.* path //; s/[0-9]{8}T[0-9]{6}Z/VERSION/g; s/-[0-9]{8}$/-DAY/' | sort
    findmnt -rno TARGET,FSTYPE | sort`);

beforeAll(async () => {
  node = await startNode({ name: "killed", layer: await packagedLayer("trixie") });
  later = await bringDeb(node, await buildLabDeb("99.0.0"));
  deb = await bringDeb(node, await buildLabDeb());
  await sh(`apt-get update -qq; printf '[templates]\\ninstall = []\\n' >>/etc/opdbus/conf.d/lab.toml`);
});
afterAll(() => stopNode("killed"));

const INSTALL = ["opdbus-pve", "install", "--yes", "--pool-size", "4G"] as const;
const REMOVE = ["opdbus-pve", "uninstall", "--everything", "--confirm-host", "killed"] as const;

test("install and uninstall, 70 times", async () => {
  const settings = await sh("cat /etc/opdbus/conf.d/lab.toml");
  const again = async () => {
    await sh(`mkdir -p /etc/opdbus/conf.d; apt-get install --yes -qq --no-install-recommends ${deb}`);
    await sh(`cat >/etc/opdbus/conf.d/lab.toml <<'END'\n${settings}END`);
  };
  await sh(INSTALL.join(" "));
  const whole = await host();
  for (let round = 0; round < 5; round++) {
    for (let kill = 0; kill < 5; kill++) await killed(REMOVE, 900);
    // it goes on without who asked for it
    await sh("while pgrep -x dpkg >/dev/null; do sleep 0.1; done");
    await sh(`test ! -x /usr/bin/opdbus-pve || ${REMOVE.join(" ")}`);
    expect(
      await sh(
        `find /etc /var/lib /usr/lib -xdev \\( -name '*opdbus*' -o -name '*op-dbus*' -o -path ${POOL} \\) -print`,
      ),
      `seed ${SEED}`,
    ).toBe("");
    expect(await listLoopDevices(node.root)).toEqual([]);
    await again();
    for (let kill = 0; kill < 9; kill++) await killed(INSTALL, 700);
    await sh(INSTALL.join(" "));
    expect(await host(), `seed ${SEED}`).toBe(whole);
    expect(await listLoopDevices(node.root)).toHaveLength(1);
    expect(await sh("op-dbus audit verify")).toContain("every hash fits");
  }
});

test("an upgrade by the package, 20 times", async () => {
  const before = await host();
  const version = await sh("op-dbus --version");
  for (let kill = 0; kill < 20; kill++) {
    await killed(["dpkg", "--install", "--force-downgrade", kill % 2 === 0 ? later : deb], 2500);
  }
  await sh(`dpkg --install --force-downgrade ${deb} && dpkg --configure -a && opdbus-pve install --yes`);
  expect(await sh("op-dbus --version; dpkg --audit; dpkg --verify opdbus-pve")).toBe(version);
  expect(await host(), `seed ${SEED}`).toBe(before);
});

test("a template build, 20 times", async () => {
  await sh(`cat >/etc/opdbus/templates.d/small.toml <<'END'\n${SMALL}END`);
  const build = ["op-dbus", "template", "build", "small"] as const;
  await sh(build.join(" "));
  const whole = await host();
  for (let kill = 0; kill < 20; kill++) await killed(build, 9000);
  await sh(`op-dbus template build small; op-dbus template prune small --keep 1 --yes`);
  expect(await host(), `seed ${SEED}`).toBe(whole);
  await sh("op-dbus template verify small");
  expect(await sh("find /tmp /var/tmp -name 'mmdebstrap*'; pgrep --list-full mmdebstrap || true")).toBe("");
});

test("create and destroy, 90 times", async () => {
  const empty = await host();
  const create = ["op-dbus", "container", "create", "web-01", "--template", "small", "--network", "none"] as const;
  const destroy = ["op-dbus", "container", "destroy", "web-01", "--force", "--yes"] as const;
  await sh(create.join(" "));
  const whole = await host();
  for (let kill = 0; kill < 45; kill++) {
    await killed(destroy, 250);
    await killed(create, 250);
  }
  await sh(`${destroy.join(" ")} || true; op-dbus container list --json`);
  expect(await host(), `seed ${SEED}`).toBe(empty);
  await sh(create.join(" "));
  expect(await host(), `seed ${SEED}`).toBe(whole);
  expect(await sh("op-dbus audit verify; opdbus-pve install --dry-run --exit-code")).toContain("every hash fits");
});
