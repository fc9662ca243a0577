"""
Exported files of every release on every version of Airflow.

Run by ``make matrix``, which prints a table; a row is a version of Airflow, a column a test from below.
"""

import difflib
import os
import re

import pytest
from support.matrix import environments
from support.matrix.files import EXAMPLE_DIAMOND, OURS
from support.matrix.rows import run_matrix

pytestmark = [pytest.mark.matrix, pytest.mark.airflow, pytest.mark.timeout(3600)]


def chosen(kind):
    known = environments.versions(kind)
    wanted = os.environ.get(f"DKIST_MATRIX_{kind.upper()}", "").split()
    assert set(wanted) <= set(known), f"{wanted} of the matrix: only {known} are known"
    return wanted or known


AIRFLOWS, PUBLISHED = chosen("airflow"), chosen("published")
# What the published exporter has written cannot be changed here. Exactly this is expected.
WARNS = {"5.1.1": r"airflow\.operators\.bash\.BashOperator` (class|attribute) is deprecated"}
CHANGES = {"5.1.1"}


@pytest.fixture(scope="module")
def matrix(core_wheel, rabbitmq, tmp_path_factory, request):
    """All rows."""
    reporter = request.config.pluginmanager.getplugin("terminalreporter")
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(line):
        with capture.global_and_fixture_disabled():
            reporter.write_line(line)

    say("")
    folder = tmp_path_factory.mktemp("matrix")
    return run_matrix(folder, AIRFLOWS, PUBLISHED, core_wheel=core_wheel, rabbitmq=rabbitmq, say=say)


@pytest.fixture(params=AIRFLOWS)
def row(matrix, request):
    """The result of all files on one version of Airflow."""
    row = matrix.rows[request.param]
    if row.error:
        raise row.error
    if row.same_as:
        request.node.user_properties.append(("same as", row.same_as))
        pytest.skip(f"optional: {row.version} is {row.same_as}, which has a row of its own")
    request.node.user_properties.append(("seconds", row.seconds))
    return row


@pytest.fixture(params=[OURS, *PUBLISHED])
def files(matrix, row, request):
    """The files that one library has exported, and the result of each."""
    return [(each, row.of_file[str(each.path)]) for each in matrix.files if each.group == request.param]


@pytest.fixture
def cell(request):
    """Mark in the table what is wrong and cannot be changed."""
    return lambda text: request.node.user_properties.append(("cell", text))


def test_load(row, files, cell):
    """Loading gives no error and no warning, apart from Airflow's warnings about itself."""
    assert row.version in {row.airflow, "newest"}
    for tried, found in files:
        loaded = found["loads"][0]
        assert loaded["import_errors"] == {}
        [dag] = loaded["dags"].values()
        assert dag["tasks"] == {name: sorted(each) for name, each in tried.tasks.items()}
        if tried.group in WARNS and row.airflow.startswith("3."):
            [warning] = loaded["warnings"]
            assert re.search(WARNS[tried.group], warning)
            cell("warns [1]")
        else:
            assert loaded["warnings"] == [], tried.path.name


def test_serialise(row, files, cell):
    """The result is the same on two days, and the scheduler reads the same tasks from it."""
    for tried, found in files:
        [first], [second] = (loaded["dags"].values() for loaded in found["loads"])
        assert first["stored_tasks"] == second["stored_tasks"] == sorted(tried.tasks), tried.path.name
        changes = [
            line
            for line in difflib.unified_diff(
                first["stored"].splitlines(), second["stored"].splitlines(), lineterm="", n=0
            )
            if line[0] in "+-" and line[:3] not in {"+++", "---"}
        ]
        if tried.group in CHANGES:
            assert len(changes) == 2, changes
            assert all("start_date" in line for line in changes)
            cell("new each day [2]")
        else:
            assert changes == [], tried.path.name


def test_run(row, files):
    """It succeeds with every task in an environment of its release, and publishes no message."""
    runs = [(tried, found["runs"]["good"]) for tried, found in files if "good" in tried.runs]
    assert runs
    for tried, run in runs:
        assert (run["state"], run["tasks"]) == ("success", dict.fromkeys(tried.tasks, "success")), tried.path.name
        assert row.messages[run["run_id"]] == []
        number = tried.runs["good"]["recipe_run_id"]
        if tried.tasks is EXAMPLE_DIAMOND:
            assert [*row.folder.glob(f"facts/recipe_run_{number:06d}/**/*.png")]
            continue
        left = {each.suffix[1:]: each.read_text() for each in row.folder.glob(f"facts/{number}.*")}
        assert sorted(left) == sorted(tried.tasks)
        own = "/environments/" if tried.group == OURS else "/.task_venv"
        assert all(own in prefix for prefix in left.values()), left


def test_fail(row, files):
    """One message is published; it names the failed task."""
    runs = [(tried, found["runs"]["bad"]) for tried, found in files if "bad" in tried.runs]
    assert runs
    for tried, run in runs:
        before = dict.fromkeys(tried.tasks[tried.failing], "success")
        states = {**dict.fromkeys(tried.tasks, "upstream_failed"), **before, tried.failing: "failed"}
        assert (run["state"], run["tasks"]) == ("failed", states), tried.path.name
        [message] = row.messages[run["run_id"]]
        named = (message["taskName"], message["recipeRunId"], message["tryNumber"])
        assert named == (tried.failing, tried.runs["bad"]["recipe_run_id"], 1)


def test_refuse(row, files, cell):
    """A hostile or missing recipe run id runs nothing; files of the published library fail in the first task."""
    for tried, found in files:
        for name in ("hostile", "missing"):
            run = found["runs"][name]
            if tried.group == OURS:
                assert "Invalid input for param recipe_run_id" in run["refusal"], (tried.path.name, name)
                assert (run["state"], run["run_id"]) == ("", "")
            else:
                assert (run["state"], run["tasks"]) == ("failed", {"First": "failed", "Second": "upstream_failed"})
                [message] = row.messages[run["run_id"]]
                assert message["taskName"] == "First"
                cell("fails [3]")


def test_every_message_belongs_to_a_run(matrix):
    """No message was published twice under different names."""
    assert matrix.strays == []
