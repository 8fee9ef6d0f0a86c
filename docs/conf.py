"""The site of these pages, made by ``tox -e docs`` (Sphinx, https://www.sphinx-doc.org/en/master/usage/configuration.html).

index.md is the navigation: each of its sections lists pages. Pages that it does not name come last, under "More".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from sphinx.application import Sphinx

project = "fabrelease"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "fabrelease"
html_show_copyright = False
myst_heading_anchors = 4
highlight_language = "none"  # of blocks that name no language: what a terminal shows
exclude_patterns = ["_build"]


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _add_navigation)


def _add_navigation(app: Sphinx, name: str, source: list[str]) -> None:
    if name == app.config.root_doc:
        source[0] += "".join(navigation(source[0], app.env.found_docs - {name}))


def navigation(index: str, pages: Iterable[str]) -> Iterator[str]:
    """Sphinx's table of contents for each section of the index, and one for the pages that none of them lists."""
    rest = set(pages)
    for section in index.split("\n## ")[1:]:
        listed = re.findall(r"^- \[[^]]+\]\(([^):]+)\.md\)", section, re.MULTILINE)
        rest -= set(listed)
        yield _toctree(section.partition("\n")[0], listed)
    yield _toctree("More", sorted(rest))


def _toctree(caption: str, pages: list[str]) -> str:
    lines = ["", "", "```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```"]
    return "\n".join(lines) if pages else ""
