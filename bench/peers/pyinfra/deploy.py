"""A deploy as pyinfra's users write it: six operations."""

import os
import time
from pathlib import Path

from pyinfra.operations import files, git, server

root, repository = os.environ["BENCH_ROOT"], os.environ["BENCH_REPOSITORY"]
revision = os.environ["BENCH_REVISION"]
release = f"{root}/releases/{time.strftime('%Y%m%d%H%M%S')}-{revision[:7]}"
pip, wanted, installed = f"{root}/env/bin/pip", f"{release}/requirements.txt", f"{root}/env/requirements.txt"

git.repo(name="fetch", src=repository, dest=f"{root}/repo", branch="main")
server.shell(
    name="copy",
    commands=[f"mkdir -p {release} && git -C {root}/repo archive {revision} | tar -x -C {release}"],
)
server.shell(
    name="requirements, where the file changed",
    commands=[
        f"[ -x {pip} ] || python3 -m venv {root}/env",
        f"cmp -s {wanted} {installed} || {{ {pip} install --quiet -r {wanted} && cp {wanted} {installed}; }}",
    ],
)
files.link(name="switch", path=f"{root}/current", target=release)
server.shell(name="restart", commands=[f"supervisorctl restart {Path(root).name}"], _sudo=True)
server.shell(name="prune", commands=[f"ls -1d {root}/releases/* | head -n -5 | xargs -r rm -rf"])
