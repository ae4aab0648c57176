#!/bin/sh
# The template script of lxc-create for templates that op-dbus built; its own name says which: lxc-NAME.
#   lxc-create -t debian-base -n web-01 -- --network none --memory 512
# lxc-create gives --path=FOLDER --name=NAME --rootfs=FOLDER, and then what came after `--`.
case "$1 $* " in
  *" --mapped-uid "*)
    echo "error: the configuration of lxc-create maps ids (lxc.idmap), and op-dbus cannot work in there" >&2
    echo "  lxc-create -f /dev/null -t ${0##*/lxc-}   # our containers map them by themselves" >&2
    exit 1 ;;
  --path=*) folder=${1#--path=} name=${2#--name=} ;;
  *) exec op-dbus container create --help ;;
esac
shift 3
trap : INT TERM HUP # they reach op-dbus as well, which undoes what it did
op-dbus container create --template "${0##*/lxc-}" --for-lxc-create "$folder" "$@" -- "$name" && exit
# what failed when the container was there was not its making; and lxc-create would remove its files through our link
[ -L "$folder" ] && exit
# lxc-create removes what it has begun, unless it was ended meanwhile
kill -0 "$PPID" 2>/dev/null || { rm -f "$folder/config" "$folder/partial"; rmdir "$folder/rootfs" "$folder"; }
exit 1
