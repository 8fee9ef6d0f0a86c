#!/bin/sh
# The deploy many teams wrote by hand, and what Mina does: one ssh, one script.
# Arguments: the root directory, the repository, the revision.
set -eu
root=$1 repository=$2 revision=$3
name=$(date +%Y%m%d%H%M%S)-$(echo "$revision" | cut -c1-7)
release=$root/releases/$name

mkdir "$root/lock"
trap 'rmdir "$root/lock"' EXIT

[ -d "$root/repo" ] || git clone --quiet --mirror "$repository" "$root/repo"
git -C "$root/repo" fetch --quiet --prune origin
mkdir -p "$release"
git -C "$root/repo" archive "$revision" | tar -x -C "$release"

[ -x "$root/env/bin/pip" ] || python3 -m venv "$root/env"
# The fast way: pip is asked only where the file changed.
if ! cmp -s "$release/requirements.txt" "$root/env/requirements.txt"; then
    "$root/env/bin/pip" install --quiet --requirement "$release/requirements.txt"
    cp "$release/requirements.txt" "$root/env/requirements.txt"
fi

ln -s "$release" "$root/current.new"
mv -T "$root/current.new" "$root/current"
sudo supervisorctl restart "$(basename "$root")"

# shellcheck disable=SC2012  # our own names
ls -1d "$root"/releases/* | head -n -5 | xargs -r rm -rf
