"""Installs what tests call and builds the image, or starts one server and says how to reach it.

python -m tests.target build | up | clean
"""

from __future__ import annotations

import sys

from . import Target, ensure_engine, ensure_image, ensure_programs, remove_leftovers


def main(verb: str) -> int:
    ensure_engine()
    if verb == "build":
        ensure_programs()
        print(ensure_image())
    elif verb == "up":
        server = Target.start(temporary=False)
        print(f"{server.container.name}: http://{server.host}:{server.http_port}/")
        print(f"ssh -i {server.key_path} -o UserKnownHostsFile={server.known_hosts}", end=" ")
        print(f"-p {server.ssh_port} {server.user}@{server.host}")
    elif verb == "clean":
        remove_leftovers()
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) == 2 else ""))
