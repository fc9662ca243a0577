"""The versions that the matrix tries, and the table that it prints."""

import re
from types import SimpleNamespace

import pytest
from support.matrix import environments, table
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


def report(check, version, group, outcome="passed", **properties):
    nodeid = f"tests/test_matrix.py::test_{check}[{version}-{group}]"
    return SimpleNamespace(nodeid=nodeid, outcome=outcome, user_properties=list(properties.items()))


def test_a_row_is_a_version_and_a_column_a_check():
    """An expected deviation has a note; a check that was not run has no ok."""
    reports = [
        report("load", "3.3.2", "5.1.1", cell="warns [1]"),
        report("run", "3.3.2", "ours", "failed", seconds=(12.3, 4.5)),
        report("run", "2.10.5", "ours"),
        report("run", "newest", "ours", "skipped", **{"same as": "3.3.2"}),
        SimpleNamespace(nodeid="tests/test_other.py::test_run[3.3.2-ours]", outcome="failed", user_properties=[]),
    ]
    assert list(table.lines(reports)) == [
        "exported by   Airflow  load       serialise  run     fail  refuse  seconds",
        "this library  2.10.5   ?          ?          ok      ?     ?",
        "this library  3.3.2    ?          ?          FAILED  ?     ?       12",
        "this library  newest   ?          ?          -       ?     ?       is 3.3.2",
        "5.1.1         3.3.2    warns [1]  ?          ?       ?     ?",
        table.NOTES[0],
    ]


def test_without_the_matrix_there_is_no_table():
    """Other tests print nothing."""
    assert list(table.lines([report("other", "3.3.2", "ours")])) == []


def test_a_python_that_is_not_installed_is_named():
    """The error has its version."""
    with pytest.raises(environments.NoPythonError, match=r"Python 2\.0 or 1\.5 is not installed"):
        environments.find_python("2.0", "1.5")
