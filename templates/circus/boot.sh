#!/bin/sh
# usage: sh <release>/config/circus-boot ROOT APP PROGRAMS
#
# Run before circusd starts: has it start the programs of the release that is live,
# which it knows by links in the folder PROGRAMS. When the machine starts, it is empty.
set -eu
root=$1
app=$2
programs=$3

release=$(readlink "$root/current")
for file in "$root/current/config"/*.watcher.ini; do
    role=$(basename "$file" .watcher.ini)
    name=$app-${release##*/}
    if [ "$role" != web ]; then
        name=$name-$role
    fi
    ln -sfn "$root/$release/config/$role.watcher.ini" "$programs/$name.ini"
done
