"""What plan says is what deploy does, and plan itself does nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.support import revision, settle, sh, tree
from tests.integration.test_json import check
from tests.project import Project
from tests.target import Target

ROOT = "/srv/tinysite"
PLACES = ("/srv", "/etc", "/usr/local", "/opt", "/root")


@pytest.fixture(scope="module")
def site(shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A site with a secret and a variable, of which revision one is live."""
    project = Project(tmp_path_factory.mktemp("plan") / "project", "tinysite")
    project.stage({"web1": shared_server}, secrets="prod.env", env={"COLOUR": "red"})
    project.fab("-H", "prod", "setup", "deploy", "--ref", "one")
    settle(shared_server)
    return project


def planned(project: Project, *options: str) -> dict[str, Any]:
    said = json.loads(project.fab("-H", "prod", "plan", "--json", *options).stdout)
    check("plan", said)
    return dict(said["hosts"][0])


def test_where_all_is_as_wanted_there_is_nothing_to_do(site: Project, shared_server: Target) -> None:
    found = planned(site, "--ref", "one")
    assert (found["setup"], found["next"], found["set_up"]) == ([], None, True)
    said = site.fab("-H", "prod", "plan", "--ref", "one", "--detailed-exitcode").stdout
    assert "setup would change nothing" in said
    assert "deploy would change nothing" in said


def test_the_exit_status_tells_changes_from_errors_where_that_is_asked_for(site: Project) -> None:
    site.fab("-H", "prod", "plan", "--ref", "two", "--detailed-exitcode", status=2)
    site.fab("-H", "prod", "plan", "--ref", "nosuch", "--detailed-exitcode", status=1)
    site.fab("-H", "prod", "plan", "--ref", "two")


def test_another_revision_is_told_by_its_commits_and_a_deploy_does_just_that(site: Project, shared_server: Target) -> None:
    found = planned(site, "--ref", "two")["next"]
    assert [commit["subject"] for commit in found["come"]] == [site.repository.git("log", "-1", "--format=%s", "two").strip()]
    assert (found["gone"], found["files"], found["environment"]["reused"]) == ([], [], True)
    assert found["secrets"] == {"added": [], "removed": [], "changed": []}
    said = site.fab("-H", "prod", "deploy", "--ref", "two").stderr
    assert f"environment {found['environment']['name'][:7]} reused" in said
    assert planned(site, "--ref", "two")["next"] is None
    back = planned(site, "--ref", "one")["next"]
    assert (back["come"], len(back["gone"])) == ([], 1)
    site.fab("-H", "prod", "rollback")
    settle(shared_server)


def test_other_settings_are_told_as_a_diff_and_secrets_by_name_only(site: Project, shared_server: Target) -> None:
    (site.path / "prod.env").write_text("SECRET_KEY=changed-for-the-plan\nTOKEN=s3cr3t-t0ken\n")
    more = {"secrets": "prod.env", "env": {"COLOUR": "blue"}, "site": {"client_max_body_size": "7m"}}
    site.stage({"web1": shared_server}, **more, python={"packages": ["six"]})
    found = planned(site, "--ref", "one")["next"]
    changes = {change["file"]: change["diff"] for change in found["files"]}
    assert set(changes) == {"environment", "sites/demo.example.net_80.conf"}
    assert "-COLOUR=red\n+COLOUR=blue" in changes["environment"]
    assert "+    client_max_body_size 7m;" in changes["sites/demo.example.net_80.conf"]
    assert found["secrets"] == {"added": ["TOKEN"], "removed": [], "changed": ["SECRET_KEY"]}
    assert (found["come"], found["gone"], found["environment"]["reused"]) == ([], [], False)
    said = site.fab("-H", "prod", "plan", "--ref", "one")
    assert "secrets added: TOKEN" in said.stdout
    for secret in ("changed-for-the-plan", "s3cr3t-t0ken", "only-for-tests-0123456789"):
        assert secret not in said.stdout + said.stderr + json.dumps(found)
    name = found["environment"]["name"]
    site.fab("-H", "prod", "deploy", "--ref", "one")
    assert sh(shared_server, f"readlink {ROOT}/current/env").strip().endswith(name)
    assert planned(site, "--ref", "one")["next"] is None
    settle(shared_server)


def test_what_setup_would_mend_is_told_and_nothing_on_the_host_is_touched(site: Project, shared_server: Target) -> None:
    link = "/etc/nginx/sites-enabled/tinysite.conf"
    sh(shared_server, f"mv {link} /root/; systemctl disable --quiet supervisor")
    before = tree(shared_server, *PLACES)
    found = planned(site, "--ref", "two")
    assert f"there is no {link}" in found["setup"]
    assert any("supervisor is not enabled" in words for words in found["setup"])
    assert tree(shared_server, *PLACES) == before
    assert sh(shared_server, "ls -A /tmp /run/fabrelease | grep -c plan || true").strip() == "0"
    sh(shared_server, "rm /root/tinysite.conf; systemctl enable --quiet supervisor")
    said = site.fab("-H", "prod", "setup").stderr
    assert f"link {link}" in said
    assert planned(site, "--ref", "two")["setup"] == []


def test_it_takes_no_lock_and_leaves_the_next_command_of_the_same_run_its_own(site: Project, shared_server: Target) -> None:
    site.fab("-H", "prod", "freeze", "-m", "no deploys")
    assert planned(site, "--ref", "two")["next"]
    refused = site.fab("-H", "prod", "plan", "--ref", "two", "deploy", "--ref", "two", status=1).stderr
    assert "deploys are frozen" in refused
    site.fab("-H", "prod", "unfreeze")
    site.fab("-H", "prod", "plan", "--ref", "two", "deploy", "--ref", "two")
    assert revision(shared_server) == "two"


def test_a_bare_server_is_told_what_setup_would_do_and_stays_bare(site: Project, bare_server: Target) -> None:
    site.stage({"web1": bare_server}, name="bare")
    before = tree(bare_server, "/srv", "/etc", "/usr/local")
    said = site.fab("-H", "bare", "plan").stdout
    assert "setup would mend: not installed: " in said
    assert f"{ROOT} was not set up yet" in said
    assert "deploy needs setup first: fab setup" in said
    assert tree(bare_server, "/srv", "/etc", "/usr/local") == before
    (site.path / "hosts/bare.yml").unlink()
