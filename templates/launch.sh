#!/bin/sh
# usage: sh <release>/config/launch [--listen SOCKET] PROGRAM [ARGUMENT...]
#
# Starts a program the way every process of this release is started: with the
# release's environment and secrets, the virtualenv first in PATH, in public/.
# Lies in the release's config/, beside the files "environment" and "secrets".
# --listen: the program will make this unix socket; a name that a killed one left
# there would keep some servers from starting, for ever.
#
# This file's own values are positional parameters: a variable would be at the
# mercy of the files it reads.
set -eu

case $0 in
    */*) set -- "${0%/*}" "$@" ;;
    *) set -- . "$@" ;;
esac

set -a
# shellcheck source=/dev/null
. "$1/environment"
if [ -e "$1/secrets" ]; then
    # shellcheck source=/dev/null
    . "$1/secrets"
fi
set +a

CDPATH='' cd -P -- "$1/.."
shift
if [ "$1" = --listen ]; then
    rm -f -- "$2"
    shift 2
fi
PATH=$(pwd -P)/env/bin:${PATH:-/usr/local/bin:/usr/bin:/bin}
export PATH
cd -P ./public
exec "$@"
