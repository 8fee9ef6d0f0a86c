"""python -m tests.load: hundreds of thousands of requests during deploys and rollbacks, every answer checked.

Asks servers on 127.0.0.1 that it starts itself, or one of your own that you name, and writes the figures down.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from tests.load import campaign
from tests.load.campaign import KINDS, Result
from tests.prepared import ensure_prepared_image, set_up
from tests.target import Target, ensure_image, staging

REPORT = Path(__file__).parents[2] / "docs/load.md"
MOST_REQUESTS = 5_000_000
HEAD = """# No request lost: the figures

Written by `tox -e load`; do not edit. Clients ask through nginx without a pause while releases change, deploys and
rollbacks in turn; half of them open a connection for each request. Each answer's status, body and release are
checked: it comes whole from one release, and never from an older one than an answer that was complete before the
request was sent. Each POST writes its key down where it is executed: at the end every answered one is there once,
and none is there twice. "Slow" requests take up to 2.5 seconds.

| served by | requests | POST | slow | cutovers | failed | POST twice | requests/s | slowest answer | a cutover takes |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""
FOOT = """
"Failed" counts lost requests, wrong answers, answers of a release that was no longer live, and answered POSTs that
were not executed. {requests:,} requests and {cutovers} cutovers in {minutes:.0f} minutes, on {machine}.

Run it again: `tox -e load`, or `tox -e load -- --requests 20000 --cutovers 8` for a shorter one. To ask a server of your
own that nobody needs meanwhile: `tox -e load -- --server deploy@staging.example.net --key ~/.ssh/id_ed25519 --output load.md`.
Its user may use sudo without a password, and you have logged in there once; the sample application goes to `/srv/tinysite`.
"""


def main() -> int:
    options = parse()
    deadline = time.monotonic() + options.minutes * 60
    kinds = [kind for kind in KINDS if options.only in str(kind)]
    count = len(kinds)
    began, results = time.monotonic(), []
    with tempfile.TemporaryDirectory() as directory:
        start = server_maker(options, Path(directory))
        for number, kind in enumerate(kinds):
            with start() as server:
                result = campaign.run(
                    server,
                    Path(directory) / f"kind{number}",
                    kind,
                    -(-options.requests // count),
                    -(-options.cutovers // count),
                    deadline,
                )
            results.append(result)
            print(row(result), flush=True)
            for problem in (*result.failures[:20], *result.twice[:20], *result.never[:20]):
                print(f"    {problem}", flush=True)
    write(results, time.monotonic() - began, options.output)
    return 0 if all(result.is_clean for result in results) else 1


def server_maker(options: argparse.Namespace, directory: Path) -> Callable[[], Target | staging.Staging]:
    """What gives a prepared server: a fresh one each time, or always the one that was named."""
    if own := staging.chosen(options, directory):
        set_up(own, directory / "setup")
        return lambda: own
    image = ensure_prepared_image(ensure_image(), directory / "prepared")
    return lambda: Target.start(image)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument(
        "--requests", type=int, default=300_000, help="at least so many, over all kinds (%(default)s)"
    )
    parser.add_argument("--cutovers", type=int, default=64, help="at least so many, over all kinds (%(default)s)")
    parser.add_argument("--only", default="", help="what is served by: those whose name in docs/load.md has this in it")
    parser.add_argument("--minutes", type=float, default=60, help="give up after so long (%(default)s)")
    parser.add_argument("--output", type=Path, default=REPORT, help="the file for the figures (docs/load.md)")
    staging.add_options(parser)
    options = parser.parse_args()
    if not 0 < options.requests <= MOST_REQUESTS or options.cutovers < 1:
        parser.error(f"expected up to {MOST_REQUESTS} requests and at least one cutover")
    if not any(options.only in str(kind) for kind in KINDS):
        parser.error(f"--only: there is none of that name; there is: {'; '.join(map(str, KINDS))}")
    return options


def write(results: list[Result], seconds: float, path: Path) -> None:
    foot = FOOT.format(
        requests=sum(result.requests.total() for result in results),
        cutovers=sum(result.cutovers for result in results),
        minutes=seconds / 60,
        machine=", ".join(
            [
                f"{len(os.sched_getaffinity(0))} cores",
                f"{platform.system()} {platform.machine()}",
                f"fabrelease {version('fabrelease')}",
            ]
        ),
    )
    path.write_text(HEAD + "".join(f"{row(result)}\n" for result in results) + foot)


def row(result: Result) -> str:
    requests = result.requests
    cells = [
        f"{requests.total():,}",
        f"{requests['POST']:,}",
        f"{requests['slow GET']:,}",
        result.cutovers,
        len(result.failures) + len(result.never),
        len(result.twice),
        f"{requests.total() / result.seconds:.0f}",
        f"{result.slowest:.1f} s",
        f"{statistics.median(result.cut_over_seconds):.1f} s",
    ]
    return f"| {result.kind} | " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    sys.exit(main())
