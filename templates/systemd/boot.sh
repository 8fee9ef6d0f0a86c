#!/bin/sh
# usage: sh <release>/config/boot ROOT APP
#
# Starts the programs of the release that is live, when the machine starts: their
# units are known to systemd by links in /run, which is empty then. What has a
# socket is started by its first request.
set -eu
root=$1
app=$2

release=$(readlink "$root/current")
config=$root/$release/config
for file in "$config"/*.service "$config"/*.socket; do
    [ -e "$file" ] || continue
    kind=${file##*.}
    role=$(basename "$file" ".$kind")
    name=$app-${release##*/}
    if [ "$role" != web ]; then
        name=$name-$role
    fi
    ln -sfn "$file" "/run/systemd/system/$name.$kind"
done
for link in "/run/systemd/system/$app-${release##*/}"*.service; do
    name=${link##*/}
    if [ -e "${link%.service}.socket" ]; then
        name=${name%.service}.socket
    fi
    systemctl start --no-block "$name"
done
