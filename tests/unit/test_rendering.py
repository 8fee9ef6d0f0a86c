"""Where a template is found, and what is said when one is wrong."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from fabrelease.tasks.engine.errors import Error
from fabrelease.tasks.engine.rendering import PACKAGED, Renderer, TemplateProblem

from .examples import example


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def problem(renderer: Renderer, name: str, **given: object) -> TemplateProblem:
    with pytest.raises(TemplateProblem) as raised:
        renderer.render(name, **given)
    assert isinstance(raised.value, Error)
    return raised.value


def test_the_packaged_template_is_used_when_there_is_no_other(tmp_path: Path) -> None:
    packaged = (PACKAGED / "launch.sh").read_text()
    assert Renderer(None, "web1").render("launch.sh") == packaged
    assert Renderer(tmp_path / "templates", "web1").render("launch.sh") == packaged


def test_the_projects_template_wins_over_the_packaged_one(tmp_path: Path) -> None:
    write(tmp_path, "launch.sh", "the project's\n")
    assert Renderer(tmp_path, "web1").render("launch.sh") == "the project's\n"


def test_the_hosts_template_wins_over_the_projects_and_for_that_host_alone(tmp_path: Path) -> None:
    write(tmp_path, "launch.sh", "the project's\n")
    write(tmp_path, "web1/launch.sh", "the host's\n")
    assert Renderer(tmp_path, "web1").render("launch.sh") == "the host's\n"
    assert Renderer(tmp_path, "web2").render("launch.sh") == "the project's\n"


def test_an_override_extends_the_packaged_template_of_the_same_name(tmp_path: Path) -> None:
    write(
        tmp_path,
        "nginx/site.conf.j2",
        '{% extends "fabrelease/nginx/site.conf.j2" %}\n'
        "{% block application %}\n"
        "{{ super() }}"
        "    location = /{{ settings.app }}.txt { return 204; }\n"
        "{% endblock %}\n",
    )
    given = example()
    packaged = Renderer(None, "web1").render("nginx/site.conf.j2", **given)
    added = "    location = /flask-todo.txt { return 204; }\n"
    overridden = Renderer(tmp_path, "web1").render("nginx/site.conf.j2", **given)
    assert added in overridden
    assert overridden.replace(added, "") == packaged


def test_a_hosts_template_includes_the_projects(tmp_path: Path) -> None:
    write(tmp_path, "part.j2", "shared by all hosts")
    write(tmp_path, "web1/whole.j2", "{% include 'part.j2' %}, and web1's own")
    assert Renderer(tmp_path, "web1").render("whole.j2") == "shared by all hosts, and web1's own"


def test_values_are_not_escaped_for_html_and_the_last_newline_is_kept(tmp_path: Path) -> None:
    write(tmp_path, "a.j2", "{{ value }}\n")
    assert Renderer(tmp_path, "web1").render("a.j2", value="<&>") == "<&>\n"


def test_an_unknown_variable_is_named_with_file_line_and_the_known_ones(tmp_path: Path) -> None:
    path = write(tmp_path, "a.j2", "one\ntwo\n{{ sttings.app }}\n")
    found = problem(Renderer(tmp_path, "web1"), "a.j2", settings=1, host=2)
    assert (found.path, found.line) == (str(path), 3)
    assert str(found) == f"{path}, line 3: 'sttings' is undefined (variables here: host, settings)"


def test_an_unknown_attribute_is_named_with_those_there_are(tmp_path: Path) -> None:
    path = write(tmp_path, "a.j2", "\n{% if site.prt == 80 %}x{% endif %}")
    found = problem(Renderer(tmp_path, "web1"), "a.j2", site=SimpleNamespace(port=80, path="/"))
    assert (found.path, found.line) == (str(path), 2)
    assert "SimpleNamespace has no 'prt'; it has: path, port" in str(found)


def test_an_unknown_key_is_named_with_those_there_are(tmp_path: Path) -> None:
    write(tmp_path, "a.j2", "{{ env.HOEM }}")
    assert "dict has no 'HOEM'; it has: HOME" in str(
        problem(Renderer(tmp_path, "web1"), "a.j2", env={"HOME": "/"})
    )


@pytest.mark.parametrize("use", ["| sh", "| nginx", "| supervisor", "| python", "| logrotate", "", "~ 'x'"])
def test_an_unknown_variable_passes_through_no_filter(tmp_path: Path, use: str) -> None:
    write(tmp_path, "a.j2", "{{ nothing " + use + " }}")
    assert "'nothing' is undefined" in str(problem(Renderer(tmp_path, "web1"), "a.j2"))


def test_the_line_is_the_included_templates_own(tmp_path: Path) -> None:
    write(tmp_path, "whole.j2", "{% include 'part.j2' %}")
    part = write(tmp_path, "part.j2", "\n\n\n{{ nothing }}")
    found = problem(Renderer(tmp_path, "web1"), "whole.j2")
    assert (found.path, found.line) == (str(part), 4)


def test_a_syntax_error_is_named_with_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path, "web1/a.j2", "fine\n{% if x %}\n{% endfor %}\n")
    found = problem(Renderer(tmp_path, "web1"), "a.j2", x=1)
    assert (found.path, found.line) == (str(path), 3)
    assert "endfor" in found.reason


def test_a_syntax_error_in_an_included_template_is_named_there(tmp_path: Path) -> None:
    write(tmp_path, "whole.j2", "{% include 'part.j2' %}")
    part = write(tmp_path, "part.j2", "\n{{ 1 + }}")
    found = problem(Renderer(tmp_path, "web1"), "whole.j2")
    assert (found.path, found.line) == (str(part), 2)


def test_a_value_that_cannot_be_written_is_named_with_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path, "a.j2", "\nroot {{ root | nginx }};\n")
    found = problem(Renderer(tmp_path, "web1"), "a.j2", root="/srv/$app")
    assert (found.path, found.line) == (str(path), 2)
    assert "'/srv/$app' cannot be written in nginx" in found.reason


def test_any_other_failure_in_a_template_is_named_with_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path, "a.j2", "\n{{ 'a' + 1 }}")
    found = problem(Renderer(tmp_path, "web1"), "a.j2")
    assert (found.path, found.line) == (str(path), 2)
    assert found.reason.startswith("TypeError: ")


def test_a_template_that_is_not_there_is_named_with_where_it_was_looked_for(tmp_path: Path) -> None:
    found = problem(Renderer(tmp_path, "web1"), "apache/site.conf.j2")
    assert (found.path, found.line) == ("apache/site.conf.j2", None)
    assert f"{tmp_path / 'web1'}, {tmp_path}, {PACKAGED}" in found.reason


def test_an_included_template_that_is_not_there_is_named_where_it_was_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, "a.j2", "\n{% include 'b.j2' %}")
    found = problem(Renderer(tmp_path, "web1"), "a.j2")
    assert (found.path, found.line) == (str(path), 2)
    assert "there is no template 'b.j2'" in found.reason


def test_no_template_is_read_from_outside_the_folders(tmp_path: Path) -> None:
    write(tmp_path, "secret", "no")
    assert "there is no template" in str(problem(Renderer(tmp_path / "templates", "web1"), "../secret"))


def test_what_is_compiled_is_kept_for_this_user_alone_and_a_changed_template_is_not_taken_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for text in ("one", "two"):
        write(tmp_path / "own", "a.j2", text)
        assert Renderer(tmp_path / "own", "web1").render("a.j2") == text
    kept = tmp_path / "cache/fabrelease/templates"
    assert (kept.stat().st_mode & 0o777, len(list(kept.iterdir()))) == (0o700, 1)


def test_a_template_is_rendered_where_nothing_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(write(tmp_path, "cache", "a file")))
    write(tmp_path / "own", "a.j2", "text")
    assert Renderer(tmp_path / "own", "web1").render("a.j2") == "text"
