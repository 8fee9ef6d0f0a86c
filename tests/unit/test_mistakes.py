"""What is found wrong with plain values that were to be a model, where, and what checks get to see."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from fabrelease.tasks.engine import mistakes as translation
from fabrelease.tasks.engine.settings import Health, Shared, Site, Source


def mistakes(model: type[BaseModel], data: object) -> list[tuple[object, ...]]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(data)
    return [(*mistake.path, mistake.message) for mistake in translation.mistakes(caught.value, model)]


def test_every_mistake_is_found_with_its_path() -> None:
    data = {"domains": ["a.net", 1, "x y"], "headers": {"X Y": 1}, "timeouts": {"read": 0, "raed": 1}, "port": True}
    assert mistakes(Site, data) == [
        ("domains", 1, "expected text, found the number 1"),
        ("domains", 2, 'expected a host name or an IP address, found "x y"'),
        ("port", "expected a whole number, found true"),
        ("headers", "X Y", 'expected the name of an HTTP header, found "X Y"'),
        ("headers", "X Y", "expected text, found the number 1"),
        ("timeouts", "read", "expected 1 or more, found the number 0"),
        ("timeouts", "raed", "unknown key"),
    ]


def test_what_is_missing_is_found_beside_what_is_wrong() -> None:
    assert mistakes(Site, {"path": 1}) == [("domains", "missing"), ("path", "expected text, found the number 1")]


def test_a_whole_is_not_checked_before_its_parts_are_right() -> None:
    assert mistakes(Source, {"package": "x y z", "ref": "v1"}) == [
        ("package", 'expected a requirement, like "flasktodo==1.2", found "x y z"')
    ]
    assert mistakes(Source, {"package": "x", "ref": "v1"}) == [("ref", "a package has no ref")]


def test_a_check_before_the_type_does_not_hide_its_neighbours() -> None:
    assert mistakes(Shared, {"dirs": ["/x"], "files": ["a", "a"]}) == [
        ("dirs", 0, 'expected a relative path, found "/x"'),
        ("files", '"a" is listed twice'),
    ]


def test_what_is_no_mapping_is_no_model() -> None:
    assert mistakes(Health, "/ok") == [('expected keys and values, found "/ok"',)]


def test_two_models_share_no_default() -> None:
    one, other = Shared.model_validate({}), Shared.model_validate({})
    one.dirs.append("media")
    assert other.dirs == []
