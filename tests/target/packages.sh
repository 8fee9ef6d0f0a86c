#!/bin/sh
# Installs the named Debian packages on this machine, as root, and waits up to two
# minutes for another apt. Prints what apt said only when it fails.
set -eu
export DEBIAN_FRONTEND=noninteractive

log=$(mktemp)
trap 'rm -f "$log"' EXIT

failed() {
    cat "$log" >&2
    exit 1
}

# apt waits for the lock of its packages, not for that of its lists.
tries=0
until apt-get update >"$log" 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -ge 60 ] || ! grep -q 'lists/lock' "$log"; then
        failed
    fi
    sleep 2
done
apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends "$@" >"$log" 2>&1 || failed
