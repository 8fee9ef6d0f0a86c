#!/bin/sh
# Makes sure that the programs which tests call on this machine are here: installs
# Debian's packages of those that are missing, which takes root. No service of theirs
# is started. Exit status: 0 they are here, 1 failed, 2 a person must act.
set -eu
here=$(dirname "$0")

missing=
for program in fish logrotate nginx openssl rsync zsh; do
    command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
done
if [ -z "$missing" ]; then
    exit 0
fi

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "programs: the tests need$missing on this machine. Install what is missing" >&2
    echo "programs: (on Debian: sudo apt-get install$missing), then run this again." >&2
    exit 2
fi

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
echo "programs: installing$missing" >&2
# shellcheck disable=SC2086  # a list of names
sh "$here/packages.sh" $missing
