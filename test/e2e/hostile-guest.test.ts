import { afterAll, beforeAll, expect, test } from "vitest";
import { type LabNode, stopNode } from "../../lab/node.ts";
import { startInstalledNode } from "../../lab/program.ts";

const CONTAINERS = "/var/lib/op-dbus/@containers";
const DISK = "/srv/disk";
/** What is the host's, and what no guest may have a hand in. */
const HOSTS =
  "/etc /root /usr/lib /usr/bin /usr/sbin /var/lib/dpkg /var/lib/opdbus-pve/receipt.json /boot /srv/precious /dev/shm";

let node: LabNode;
beforeAll(async () => {
  node = await startInstalledNode("hostile");
  await sh(`mkdir -p /srv/precious /root/.ssh ${DISK}; echo precious | tee /srv/precious/file /root/.ssh/authorized_keys /root/precious
    truncate -s 3G /root.disk; mkfs.btrfs -q /root.disk; mount -o loop /root.disk ${DISK}`);
});
afterAll(() => stopNode("hostile"));

const sh = async (script: string) => (await node.run(["sh", "-c", script])).stdout;

/** All that lies there, by kind, mode, owner, size, time and content; a link by where it leads. */
const look = () =>
  sh(
    `find ${HOSTS} -xdev -printf '%p %y %m %U %G %s %T@ %l\\n' | sort; find ${HOSTS} -xdev -type f -print0 | sort -z | xargs -0 sha256sum`,
  );

// As a guest's root can leave his tree, and worse: devices and locked files he could not make. Each is run in it.
const ATTACKS = {
  "links to the host's folders in the place of his own": `for name in etc var root dev run sbin usr/lib; do mv $name kept-$(basename $name); ln -s /$name $name; done`,
  "links that climb": `for name in etc var root; do mv $name kept-$name; ln -s ../../../../../../../../$name $name; done`,
  "links in the place of files": `for name in etc/hostname etc/machine-id etc/resolv.conf etc/opdbus/template.json var/lib/opdbus/firstboot-done root/.bash_history; do
      mkdir -p $(dirname $name); rm -rf $name; ln -s /srv/precious/file $name; done; rm -rf etc/ssh root/.ssh var/lib/dhcp var/log/journal tmp var/tmp
      for name in etc/ssh root/.ssh var/lib/dhcp var/log/journal tmp var/tmp; do ln -s /srv/precious $name; done`,
  "pipes and a socket in the place of files": `for name in etc/hostname etc/machine-id etc/opdbus/template.json var/lib/opdbus/firstboot-done var/lib/dpkg/status etc/os-release; do
      rm -f $name; mkdir -p $(dirname $name); mkfifo $name; done; perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0); bind(S, pack_sockaddr_un("etc/socket"))'`,
  "devices in the place of files": `rm -f etc/hosts etc/hostname; mknod etc/hosts c 1 9; mknod etc/hostname b 7 0; mknod etc/ssh/ssh_host_rsa_key b 7 0`,
  "folders in the place of files, and files in that of folders": `for name in etc/hostname etc/machine-id var/lib/opdbus/firstboot-done; do rm -rf $name; mkdir -p $name/x; done
      rm -rf etc/ssh root var/log tmp; touch etc/ssh root var/log tmp`,
  "more than fits": `truncate -s 1G etc/hostname etc/machine-id; perl -e 'for (1 .. 300) { mkdir "d" x 100; chdir "d" x 100 }'; ln -s "$(printf 'x%.0s' $(seq 4000))" etc/long
      touch "etc/$(printf 'line\\nbreak')" "etc/-rf" "etc/--help" "etc/$(printf '\\033[2J')"`,
  "a tree without anything": `cd /; find "$OLDPWD" -xdev -mindepth 1 -delete`,
  "names that are options, in the folder of every list": `for folder in . etc var root; do for name in -rf --checkpoint=1 '--checkpoint-action=exec=touch x' --files0-from=- '$(touch x)' '\`touch x\`'; do touch "$folder/$name"; done; done`,
  "subvolumes and snapshots of his own": `btrfs subvolume create var/lib/inner; btrfs subvolume snapshot -r . var/lib/inner/self; mkdir -p etc/rootfs; btrfs subvolume create etc/rootfs/rootfs`,
};

const COMMANDS = [
  "container start e",
  "container exec e -- true",
  "container logs e",
  "container list",
  "container show e",
  "doctor",
  "query",
  "container stop e --force",
  "container snapshot e one",
  "container listsnapshot e",
  "container rollback e one --yes --discard-subvolumes",
  "container clone e f g --snapshot one",
  "container rename e h",
  `container copy h --to ${DISK} --name i`,
  "container publish h evil",
  "template show evil --packages",
  "template verify evil",
  "template export evil --output /srv/evil.tar.zst",
  "template import /srv/evil.tar.zst --name worse",
  "template shift evil",
  "container create j --template evil --network none --start",
  "container destroy j --force --yes",
  "template remove evil --yes",
  "template remove worse --yes",
  "container destroy e f g h --force --yes",
];

/** What is read by the guest's own programs, which may keep it to themselves. */
const isGuests = (command: string) => command.startsWith("container logs") || command.startsWith("container exec");
/** Seconds that a command may take. */
const patience = (command: string) => (isGuests(command) ? 5 : 60);

test.each(Object.entries(ATTACKS))(
  "a guest that has %s reaches nothing of the host, whatever is done with him",
  async (_, attack) => {
    await sh("op-dbus container create e --network none --start --wait; op-dbus container stop e");
    await sh(`cd ${CONTAINERS}/e/rootfs && ${attack}`);
    const before = await look();
    const told = await sh(
      COMMANDS.map(
        (command) => `timeout --kill-after=5 ${patience(command)} op-dbus ${command} 2>&1; echo "= $? ${command}"`,
      ).join("\n"),
    );
    expect(await look()).toBe(before);
    const outcomes = [...told.matchAll(/^= (\d+) (.*)$/gm)].map(([, code, command]) => ({
      code: Number(code),
      command,
    }));
    expect(outcomes).toHaveLength(COMMANDS.length);
    expect(
      outcomes.filter(({ code, command = "" }) => code > 6 && !isGuests(command)),
      told,
    ).toEqual([]);
    expect(told).not.toContain("This is a bug");
    // nothing of what he called his files steers a terminal
    expect(told).not.toMatch(/[^\P{Cc}\n\t\r]/u);
    expect(await sh(`ls -A ${CONTAINERS}; ls -A /var/lib/op-dbus/@templates | grep -v debian-base`)).toBe("");
    await sh(
      `for one in ${DISK}/@containers/*; do btrfs subvolume delete "$one/rootfs"; rm -r "$one"; done; rm -f /srv/evil*`,
    );
  },
);
