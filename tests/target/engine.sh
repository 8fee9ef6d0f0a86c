#!/bin/sh
# Makes sure that a Docker engine answers: uses the one that is there, else
# installs and starts Debian's own, which takes root. Progress goes to stderr.
# Exit status: 0 an engine answers, 1 it could not be started, 2 a person must act.
set -eu
here=$(dirname "$0")

say() { printf 'engine: %s\n' "$*" >&2; }

answers() { docker info >/dev/null 2>&1; }

wait_until_it_answers() {
    tries=0
    until answers; do
        tries=$((tries + 1))
        if [ "$tries" -ge "$1" ]; then
            return 1
        fi
        sleep 0.5
    done
}

if answers; then
    exit 0
fi

if [ "$(id -u)" -ne 0 ]; then
    say "no Docker engine answers, and only root can install one."
    say "Start yours (for instance: sudo systemctl start docker), put yourself in the"
    say "group docker, or set DOCKER_HOST to an engine you may use; then run this again."
    exit 2
fi

if ! command -v dockerd >/dev/null 2>&1 || ! command -v docker >/dev/null 2>&1; then
    if ! command -v apt-get >/dev/null 2>&1; then
        say "no Docker engine answers, and this is no Debian: install Docker, then run this again."
        exit 2
    fi
    say "installing Debian's docker.io and debootstrap (a minute or two)"
    sh "$here/packages.sh" docker.io debootstrap
    # Newer Debian keeps the client in a package of its own.
    command -v docker >/dev/null 2>&1 ||
        sh "$here/packages.sh" docker-cli
fi

# Where systemd runs, the package has a service, and that one is the engine.
if [ -d /run/systemd/system ]; then
    say "starting docker.service"
    systemctl start docker >&2 || say "docker.service did not start: see journalctl -u docker"
else
    log=/var/log/dockerd.log
    say "starting dockerd, its log is $log"
    # A new session: it must outlive the terminal and the test run that needed it first.
    setsid dockerd >>"$log" 2>&1 </dev/null &
fi

if ! wait_until_it_answers 120; then
    say "the Docker engine did not answer within a minute."
    [ ! -f "${log:-/nonexistent}" ] || tail -n 20 "$log" >&2
    exit 1
fi
say "ready"
