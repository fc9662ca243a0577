"""Notebooks that are run by papermill, with a real kernel."""

import json
import os
import sys
from pathlib import Path

import pytest
from support.command_line import run_command
from support.sources import flow, imported_sources

import dkist_processing_core
from dkist_processing_core.notebook_utils import export_notebook_by_path

pytestmark = pytest.mark.once

for module in ("papermill", "ipykernel"):
    pytest.importorskip(module, reason=f"{module} is not installed (pip install 'dkist-processing-core[test]')")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the notebook of a package that is on the path, and return the status and the cells of code."""
    places = [tmp_path / "src", Path(dkist_processing_core.__file__).parents[1]]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, places)))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")

    def do(text, *arguments):
        with imported_sources(tmp_path / "src", {"flow.py": text}) as package:
            module = __import__(f"{package.__name__}.flow").flow
            file = module.workflow.export_notebook(overwrite=True)
        parameters = [word for value in arguments for word in ("-p", "recipe_run_id", value)]
        done = run_command(sys.executable, "-m", "papermill", file, tmp_path / "result.ipynb", *parameters)
        assert done.returncode in {0, 1}, done.stderr
        content = json.loads((tmp_path / "result.ipynb").read_text())
        return done.returncode, [cell for cell in content["cells"] if cell["cell_type"] == "code"]

    return do


def printed(cell):
    """Return what a cell has printed to the standard output stream, and the error that it has raised."""
    streams = [each["text"] for each in cell["outputs"] if each["output_type"] == "stream" and each["name"] == "stdout"]
    errors = [f"{each['ename']}: {each['evalue']}" for each in cell["outputs"] if each["output_type"] == "error"]
    return "".join("".join(each) for each in streams), errors


def test_a_notebook_runs_from_first_to_last_cell(run, tmp_path):
    """Every task runs with the recipe run id that was filled in, and the result is a document."""
    status, cells = run(flow(), 7)
    assert status == 0
    assert all(cell["execution_count"] for cell in cells)
    assert [printed(cell) for cell in cells[-2:]] == [("MyTask1 of 7\n", []), ("MyTask2 of 7\n", [])]
    assert "INFO dkist_processing_core.task: Task MyTask2 complete" in (tmp_path / "result.ipynb").read_text()
    document = export_notebook_by_path(tmp_path / "result.ipynb").decode()
    assert "# Workflow `a_to_b_cam_one`, version `1.0`" in document
    assert "    MyTask2 of 7\n" in document


def test_without_a_recipe_run_id_no_task_runs(run):
    """The cell behind the parameters says what to do."""
    status, cells = run(flow())
    assert status == 1
    assert printed(cells[1])[1] == [
        "ValueError: recipe_run_id is not set. Set it in the cell above, for example: recipe_run_id = 1"
    ]
    assert [cell["execution_count"] for cell in cells[2:]] == [None, None]


def test_what_is_no_recipe_run_id_stops_at_the_first_task(run):
    """With the error of the task itself."""
    status, cells = run(flow(), "x")
    assert status == 1
    [error] = printed(cells[3])[1]
    assert error.startswith("RecipeRunIdError: recipe_run_id must be an integer, not 'x'.")


def test_a_task_that_fails_stops_the_notebook(run):
    """The error is below its cell, and what comes after it does not run."""
    status, cells = run(flow().replace('print(f"MyTask1 of', 'raise OSError(f"disk of'), 7)
    assert status == 1
    assert [printed(cell)[1] for cell in cells[-2:]] == [["OSError: disk of 7"], []]
    assert [cell["execution_count"] for cell in cells[-2:]] == [4, None]


def test_another_release_than_the_notebook_s_is_warned_of(run):
    """The tasks would run from what is installed, and say that they were of the notebook's version."""
    _, cells = run(flow(), 7)
    [warning] = [each for each in cells[2]["outputs"] if each.get("name") == "stderr"]
    text = "".join(warning["text"])
    assert (
        "This notebook belongs to package-of-a-test 1.0, but its tasks will run from the installed version: none."
        in text
    )
