#!/bin/sh
# usage: sh <release>/config/boot ROOT APP
#
# Starts the programs of the release that is live, when the machine starts: their
# units are known to systemd by links in /run, which is empty then.
set -eu
root=$1
app=$2

release=$(readlink "$root/current")
for file in "$root/current/config"/*.service; do
    role=$(basename "$file" .service)
    name=$app-${release##*/}
    if [ "$role" != web ]; then
        name=$name-$role
    fi
    ln -sfn "$root/$release/config/$role.service" "/run/systemd/system/$name.service"
    systemctl start --no-block "$name.service"
done
