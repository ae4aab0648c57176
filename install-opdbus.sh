#!/bin/sh
# Installs or upgrades this host: the package that lies beside this script, or in
# build/ (npm run deb), then the node. Options are those of opdbus-pve install.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
if [ -e /etc/NIXOS ]; then
    echo "This is NixOS, which is configured by declaration; nothing was installed." >&2
    exit 0
fi
for folder in "$here" "$here/build"; do
    deb=$(ls -v "$folder"/opdbus-pve_*_amd64.deb 2>/dev/null | tail -n 1)
    [ -z "$deb" ] || break
done
[ -n "$deb" ] || { echo "There is no opdbus-pve_*_amd64.deb in $here; npm run deb makes one" >&2; exit 3; }
echo "Installing $deb" >&2
apt-get install --yes "$deb"
exec /usr/bin/opdbus-pve install "$@"
