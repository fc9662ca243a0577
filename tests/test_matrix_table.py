"""The versions that the matrix tries."""

import re

import pytest
from support.matrix import environments
from support.releases import REPOSITORY

AIRFLOWS = environments.versions("airflow")


def test_the_oldest_version_is_the_oldest_that_the_library_takes():
    """The extra airflow has the same lower bound."""
    assert f"apache-airflow[celery,postgres]>={AIRFLOWS[0]}," in (REPOSITORY / "pyproject.toml").read_text()


def test_the_newest_version_is_that_of_the_constraints():
    """A new Airflow in the constraints needs a row of its own."""
    constrained = re.search(r"^apache-airflow==(.+)$", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE)[1]
    assert AIRFLOWS[-2:] == [constrained, "newest"]


@pytest.mark.parametrize("file", [".ci/run", "bitbucket-pipelines.yml"])
def test_the_gate_tries_the_oldest_and_the_newest(file):
    """The script and the pipeline test the built wheel on both."""
    commands = [line for line in (REPOSITORY / file).read_text().splitlines() if "make" in line]
    [matrix] = [line for line in commands if "matrix" in line]
    assert f'matrix WHEEL=1 AIRFLOWS="{AIRFLOWS[0]} {AIRFLOWS[-2]}"' in matrix
    [tests] = [line for line in commands if " test" in line and "test-pythons" not in line]
    assert "test WHEEL=1" in tests
