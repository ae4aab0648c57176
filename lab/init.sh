#!/bin/sh
# Gives a node its namespaces and starts its systemd; called by lab/boot.ts:
#   init.sh outside DIRECTORY HOSTNAME CGROUP…
# DIRECTORY holds root/ (mounted already) and console.log; PID 1's line of
# /proc/PID/stat, as the host sees it, is written to DIRECTORY/pid1.
set -eu
stage=$1 directory=$2 hostname=$3
shift 3

if [ "$stage" = outside ]; then
    # The cgroup namespace takes its root from where its maker is, so go there first.
    for cgroup; do
        mkdir -p "$cgroup"
        echo $$ >"$cgroup/cgroup.procs"
    done
    exec unshare --mount --propagation private --pid --fork --kill-child \
        --uts --ipc --net --cgroup sh "$0" inside "$directory" "$hostname"
fi

# /proc is still the host's, so this is our pid as the host sees it.
read -r stat </proc/self/stat
echo "$stat" >"$directory/pid1.new"
mv "$directory/pid1.new" "$directory/pid1"

device() { mknod -m "$2" "dev/$1" "$3" "$4" "$5" 2>/dev/null || echo "no /dev/$1 here"; }

cd "$directory/root"
mkdir -p proc sys dev run tmp mnt
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
# A profile that a node loaded would be this machine's: LXC and we are told that the kernel has no AppArmor.
if [ -e sys/module/apparmor/parameters/enabled ]; then
    echo N >"$directory/no-apparmor"
    mount --bind "$directory/no-apparmor" sys/module/apparmor/parameters/enabled
fi
mount -t tmpfs -o mode=755,size=4m tmpfs dev
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p dev/net dev/pts dev/shm dev/mqueue dev/.lab/proc dev/.lab/sys
for entry in 'null 666 c 1 3' 'zero 666 c 1 5' 'full 666 c 1 7' 'random 666 c 1 8' 'urandom 666 c 1 9' \
    'tty 666 c 5 0' 'fuse 666 c 10 229' 'btrfs-control 660 c 10 234' 'loop-control 660 c 10 237' 'net/tun 666 c 10 200'; do
    # shellcheck disable=SC2086 # five words on purpose
    device $entry
done
for number in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do device "loop$number" 660 b 7 "$number"; done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
: >dev/console
mount --bind "$directory/console.log" dev/console
echo "$hostname" >proc/sys/kernel/hostname

# The node's own sysctl settings must not reach the host: all but net is shared
# with it. A second, whole /proc stays, because the kernel lets an unprivileged
# container mount its own only where one without such cover is in sight.
# The same holds for /sys, of which a part may be covered above.
for subject in kernel vm fs dev; do
    mount --bind "proc/sys/$subject" "proc/sys/$subject"
    mount -o remount,bind,ro "proc/sys/$subject"
done
mount -t proc proc dev/.lab/proc
mount -t sysfs sysfs dev/.lab/sys

# Entering our own mount namespace anew leaves a chroot that the lab may run in;
# in a chroot the kernel would refuse the node any user namespace.
nsenter --mount=/proc/self/ns/mnt --wd=. pivot_root . mnt
# (The clock is this machine's, too: nobody in the node may set it.)
exec nsenter --mount=/proc/self/ns/mnt /usr/bin/env -i \
    container=opdbus-lab TERM=linux PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /bin/sh -c 'umount -l /mnt && exec setpriv --bounding-set=-sys_time /lib/systemd/systemd --log-target=console --show-status=1'
