#!/bin/sh
# usage: bare.sh DIRECTORY
#
# Fills a directory with links to the programs that a new Debian machine has, git and
# the SSH client among them, and nothing else. With it as PATH, whatever the tests call
# beside these must come from a script of the project's: packages.sh adds to it.
set -eu
target=$1

# shellcheck disable=SC2016  # the dollars are dpkg's
base=$(dpkg-query --show --showformat '${Priority} ${Package}\n' |
    awk '$1 == "required" || $1 == "important" { print $2 }')
# shellcheck disable=SC2086  # a list of names
sh "$(dirname "$0")/link.sh" "$target" $base git openssh-client ca-certificates
