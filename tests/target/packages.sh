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

install() {
    apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends "$@" >"$log" 2>&1
}

# An installation that somebody cut off refuses all others until it has been finished.
if ! install "$@"; then
    grep -q 'dpkg --configure -a' "$log" || failed
    dpkg --configure -a >"$log" 2>&1 || failed
    install "$@" || failed
fi

# Where PATH is a directory of links (bare.sh), their programs are put there.
if [ -n "${BARE_PATH:-}" ]; then
    depends=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
        --no-replaces --no-enhances --installed "$@" | grep -E '^[a-z0-9]' | sort -u)
    # shellcheck disable=SC2086  # a list of names
    sh "$(dirname "$0")/link.sh" "$BARE_PATH" $depends
fi
