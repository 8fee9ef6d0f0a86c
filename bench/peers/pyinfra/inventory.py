"""One server, by the key and the known hosts of the benchmark."""

import os

servers = [
    (
        "127.0.0.1",
        {
            "ssh_port": int(os.environ["BENCH_PORT"]),
            "ssh_user": "deploy",
            "ssh_key": os.environ["BENCH_KEY"],
            "ssh_known_hosts_file": os.environ["BENCH_KNOWN_HOSTS"],
            "ssh_strict_host_key_checking": "yes",
            "ssh_allow_agent": False,
            "ssh_look_for_keys": False,
        },
    )
]
