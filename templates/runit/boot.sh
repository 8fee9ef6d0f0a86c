#!/bin/sh
# usage: sh <release>/config/runit-boot ROOT APP FOLDER
#
# Run before runsvdir starts: where nothing is in FOLDER yet, because the machine
# has just started, makes a service there for each program of the release that is live.
set -eu
root=$1
app=$2
folder=$3

release=$(readlink "$root/current")
[ -z "$(ls "$folder")" ] || exit 0
for file in "$root/current/config"/*.run; do
    role=$(basename "$file" .run)
    name=$app-${release##*/}
    if [ "$role" != web ]; then
        name=$name-$role
    fi
    slot=$folder/slot-$role
    mkdir -p "$slot/log"
    ln -s "$root/$release/config/$role.run" "$slot/unit"
    printf '%s' "$name" >"$slot/name"
    for script in run finish log/run; do
        ln -s "/etc/fabrelease/runit/$script" "$slot/$script"
    done
done
