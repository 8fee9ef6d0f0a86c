#!/bin/sh
# usage: sh <release>/config/launch PROGRAM [ARGUMENT...]
#
# Starts a program the way every process of this release is started: with the
# release's environment and secrets, the virtualenv first in PATH, in public/.
# Lies in the release's config/, beside the files "environment" and "secrets".
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
PATH=$(pwd -P)/env/bin:${PATH:-/usr/local/bin:/usr/bin:/bin}
export PATH
cd -P ./public
exec "$@"
