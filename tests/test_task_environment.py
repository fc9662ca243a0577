"""What a task learns about the environment that it runs in."""

import importlib.metadata
import json
import sys

import pytest

from dkist_processing_core import TaskBase
from dkist_processing_core.common.environment import DESCRIPTION
from dkist_processing_core.runtime.environment import TaskEnvironment


class Calibrate(TaskBase):
    def run(self):
        pass


def test_outside_of_an_environment_the_distributions_are_known(monkeypatch, tmp_path):
    """As in a test or a notebook: no identity and no requirement; those that are installed, sorted by their names."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    environment = Calibrate(1, "w", "1").environment
    assert (environment.identity, environment.requirement) == (None, None)
    assert environment.distributions["pydantic-core"] == importlib.metadata.version("pydantic_core")
    assert list(environment.distributions) == sorted(environment.distributions)
    assert repr(environment) == "TaskEnvironment(identity=None, requirement=None)"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "of another program"}'])
def test_a_file_of_another_kind_is_no_description(text, tmp_path):
    """The task runs on, as if there were none."""
    (tmp_path / DESCRIPTION).write_text(text)
    environment = TaskEnvironment(tmp_path)
    assert (environment.identity, environment.requirement) == (None, None)
    assert "pytest" in environment.distributions


def test_what_every_version_of_the_file_has_is_read(tmp_path):
    """A worker with a later release may have written it."""
    distributions = [{"name": "numpy", "version": "3.0", "origin": {"checkout": "of another form"}}]
    content = {"schema_version": 9, "identity": "0a", "requirement": "x[frozen]==1", "distributions": distributions}
    (tmp_path / DESCRIPTION).write_text(json.dumps(content))
    environment = TaskEnvironment(tmp_path)
    assert (environment.identity, environment.requirement) == ("0a", "x[frozen]==1")
    assert environment.distributions == {"numpy": "3.0"}


def test_nothing_is_read_before_it_is_asked_for(monkeypatch, tmp_path):
    """And then once."""
    environment = TaskEnvironment(tmp_path)
    (tmp_path / DESCRIPTION).write_text('{"schema_version": 1, "identity": "0a"}')
    assert environment.identity == "0a"
    (tmp_path / DESCRIPTION).unlink()
    assert environment.identity == "0a"


def test_a_team_may_have_an_attribute_of_that_name():
    """Tasks that were written before this library had it work as before."""

    class Theirs(Calibrate):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.environment = "summit"

    assert Theirs(1, "w", "1").environment == "summit"
