#!/bin/sh
# usage: base.sh SUITE
#
# Prints the name of a bare image of that Debian: the public one where a registry can be
# reached, else one that debootstrap makes from Debian's packages.
# Progress goes to stderr. Exit status: 0 done, 1 failed, 2 a person must act.
set -eu
here=$(dirname "$0")

suite=$1
public=debian:$suite-slim
own=fabrelease-base:$suite

say() { printf 'base image: %s\n' "$*" >&2; }

present() { docker image inspect "$1" >/dev/null 2>&1; }

for image in "$public" "$own"; do
    if present "$image"; then
        echo "$image"
        exit 0
    fi
done

say "asking the registry for $public (20 seconds at most)"
if timeout 20 docker pull -q "$public" >/dev/null 2>&1; then
    echo "$public"
    exit 0
fi

if [ "$(id -u)" -ne 0 ]; then
    say "$public cannot be pulled, and making one with debootstrap takes root."
    say "Load it (docker load) or run this once as root; then run this again."
    exit 2
fi

if ! command -v debootstrap >/dev/null 2>&1; then
    say "installing debootstrap"
    sh "$here/packages.sh" debootstrap
fi

# The mirror this machine uses for its own Debian is the one known to be reachable.
# shellcheck source=/dev/null
own_suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
# shellcheck disable=SC2016  # the dollars are apt's
mirror=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    awk -v suite="$own_suite" '$1 == suite && $2 == "main" && $3 ~ /^http/ { print $3; exit }') || mirror=
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for attempt in first second; do
    say "debootstrap $suite from ${mirror:-its own mirror}, $attempt attempt (about half a minute)"
    rm -rf "$work/root"
    if debootstrap --variant=minbase "$suite" "$work/root" ${mirror:+"$mirror"} \
        >"$work/log" 2>&1; then
        rm -rf "$work/root/var/cache/apt/archives"
        tar -C "$work/root" -c . | docker import - "$own" >/dev/null
        echo "$own"
        exit 0
    fi
done
say "debootstrap failed twice:"
tail -n 20 "$work/log" >&2
exit 1
