"""What is asked for against what is installed: which packages would be others."""

from __future__ import annotations

from fabrelease.tasks.engine import packages
from fabrelease.tasks.engine.packages import Change

LOCK = """
[[package]]
name = "Django"
version = "5.2.1"

[[package]]
name = "shop"
version = "1.0"
source = { virtual = "." }

[[package]]
name = "shop-lib"
source = { editable = "lib" }
"""


def texts(asked: packages.Asked) -> dict[str, str]:
    return {name: str(one) for name, one in asked.items()}


def test_files_of_requirements_with_what_they_include() -> None:
    files = {
        "deploy/prod.txt": "-r ../base.txt\ngunicorn>=23  # the server\n--index-url https://x\n-e .\nhttps://x/y.whl\n",
        "base.txt": "Django[argon2]==5.2.1 \\\n    --hash=sha256:00\nzope_x.y ~= 1.0 ; python_version > '3'\nsix\n-r base.txt\n",
    }
    assert texts(packages.asked("deploy/prod.txt", files)) == {
        "django": "==5.2.1",
        "zope-x-y": "~=1.0",
        "six": "",
        "gunicorn": ">=23",
    }


def test_locks_projects_and_what_is_asked_for_beside_them() -> None:
    assert texts(packages.asked("uv.lock", {"uv.lock": LOCK}, ["uvicorn>=0.30"])) == {
        "django": "===5.2.1",
        "uvicorn": ">=0.30",
    }
    pylock = '[[packages]]\nname = "six"\nversion = "1.17.0"\n'
    assert texts(packages.asked("pylock.toml", {"pylock.toml": pylock})) == {"six": "===1.17.0"}
    project = '[project]\nname = "x"\ndependencies = ["six>=1", "rich"]\n'
    assert texts(packages.asked("pyproject.toml", {"pyproject.toml": project})) == {"six": ">=1", "rich": ""}
    assert packages.asked("uv.lock", {"uv.lock": "no [ toml"}) == {}
    assert packages.asked(None, {}) == {}


def test_two_environments_that_are_there() -> None:
    found = packages.of_installed({"Django": "5.1", "six": "1"}, {"django": "5.2", "rich": "14"})
    assert found.known_by == "installed"
    assert found.changes == [
        Change("django", "changed", "5.1", "5.2"),
        Change("rich", "added", "", "14"),
        Change("six", "removed", "1", ""),
    ]


def test_one_that_has_to_be_made() -> None:
    installed = {"django": "5.2.8", "gunicorn": "23.0", "six": "1.17.0", "sqlparse": "0.5"}
    before = packages.asked("requirements.txt", {"requirements.txt": "Django>=5.2,<5.3\ngunicorn>=23\nsix\ncolorama; os_name=='nt'"})
    after = packages.asked("requirements.txt", {"requirements.txt": "Django>=6,<6.1\ngunicorn>=23\nrich==14.0\ncolorama; os_name=='nt'"})
    found = packages.of_asked(installed, before, after)
    assert found.known_by == "asked"
    assert found.changes == [
        Change("django", "changed", "5.2.8", "<6.1,>=6"),
        Change("rich", "added", "", "14.0"),
        Change("six", "removed", "1.17.0", ""),
    ]
    assert found.unpinned == ["colorama", "django", "gunicorn"]


def test_a_pin_that_is_installed_already_is_no_change() -> None:
    asked = packages.asked(None, {}, ["six==1.17.0", "rich==14.0"])
    assert packages.of_asked({"six": "1.17.0", "rich": "13.0"}, asked, asked).changes == []
    changed = packages.asked(None, {}, ["rich==14.1"])
    found = packages.of_asked({"six": "1.17.0", "rich": "14.0"}, asked, changed)
    assert found.changes == [Change("rich", "changed", "14.0", "14.1"), Change("six", "removed", "1.17.0", "")]
