#!/bin/sh
# usage: link.sh DIRECTORY PACKAGE...
#
# Links the programs of installed Debian packages into a directory.
set -eu
target=$1
shift
mkdir -p "$target"
programs=$(dpkg --listfiles "$@" 2>/dev/null | grep -E '^(/usr)?/s?bin/[^/]+$' | sort -u)
for path in $programs; do
    ln -sf "$path" "$target/${path##*/}"
done

# An alternative (awk, iptables) belongs to no package: it is known by what it leads to.
find /usr/bin /usr/sbin -maxdepth 1 -lname '/etc/alternatives/*' | while read -r path; do
    chosen=$(readlink "/etc/alternatives/${path##*/}" || true)
    if printf '%s\n' "$programs" | grep -qxE "(/usr)?${chosen#/usr}"; then
        ln -sf "$path" "$target/${path##*/}"
    fi
done
