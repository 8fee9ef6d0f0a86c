#!/bin/sh
# usage: link.sh DIRECTORY PACKAGE...
#
# Links the programs of installed Debian packages into a directory.
set -eu
target=$1
shift
mkdir -p "$target"
dpkg --listfiles "$@" | grep -E '^(/usr)?/s?bin/[^/]+$' | sort -u | while read -r path; do
    ln -sf "$path" "$target/${path##*/}"
done
