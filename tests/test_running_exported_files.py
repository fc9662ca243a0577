"""Loading and running exported files for the tests of a client package, with the real Airflow."""

import subprocess

import pytest
from support.processes import commands
from support.releases import with_links
from support.script_runs import new_spec

from dkist_processing_core.rendering.dag import dag_file
from dkist_processing_core.testing import ExportedDagError, load_exported_dag, run_exported_dag

pytestmark = [pytest.mark.airflow, pytest.mark.network]


def exported(folder, task):
    file = folder / f"{task}.py"
    file.write_text(dag_file(new_spec(task)))
    return file


@pytest.mark.parametrize(("task", "state"), [("Good", "success"), ("Bad", "failed")])
def test_an_exported_file_is_run_to_its_end(airflow, releases, warm_cache, tmp_path, task, state):
    """It runs in an environment of its release, and its output is returned."""
    environment = {**with_links(releases), "DKIST_ENVIRONMENT_CACHE": str(warm_cache)}
    run = run_exported_dag(
        exported(tmp_path, task), {"recipe_run_id": 42}, airflow_home=airflow.home, environment=environment
    )
    assert (run.state, dict(run.tasks), run.refusal) == (state, {task: state}, "")
    assert ("good, recipe run 42" if task == "Good" else "the flat is missing") in run.output


@pytest.mark.parametrize("conf", [{}, {"recipe_run_id": "1; ls"}], ids=["missing", "hostile"])
def test_a_conf_that_airflow_refuses_runs_nothing(airflow, tmp_path, conf):
    """The refusal names the param."""
    run = run_exported_dag(exported(tmp_path, "Good"), conf, airflow_home=airflow.home)
    assert (run.state, dict(run.tasks)) == ("", {})
    assert "recipe_run_id" in run.refusal


def test_a_file_is_loaded_as_airflow_does(airflow, releases, tmp_path):
    """A process that imports Airflow gets Airflow's own object, or one error for a file that is no DAG."""
    good, broken = exported(tmp_path, "Good"), tmp_path / "broken.py"
    broken.write_text("import nothing_of_that_name  # airflow dag\n")
    airflow.execute(
        f"""
        from dkist_processing_core.testing import ExportedDagError, load_exported_dag
        assert load_exported_dag({str(good)!r}).dag_id == "a_to_b_script_1.0"
        try:
            load_exported_dag({str(broken)!r})
        except ExportedDagError as error:
            assert "nothing_of_that_name" in str(error)
        else:
            raise SystemExit("it was loaded")
        """
    )


def test_a_file_that_airflow_refuses_is_one_clear_error(airflow, tmp_path):
    """It is a ValueError with Airflow's output; nothing is run."""
    broken = tmp_path / "broken.py"
    broken.write_text("import nothing_of_that_name  # airflow dag\n")
    with pytest.raises(ValueError, match="Airflow could not run it") as caught:
        run_exported_dag(broken, {"recipe_run_id": 1}, airflow_home=airflow.home)
    assert isinstance(caught.value, ExportedDagError)
    assert "nothing_of_that_name" in str(caught.value)


def test_a_run_that_takes_too_long_is_ended(airflow, tmp_path):
    """It raises the documented error, and leaves no process."""
    slow = tmp_path / "slow.py"
    slow.write_text("import time  # airflow dag\ntime.sleep(600)\n")
    with pytest.raises(subprocess.TimeoutExpired):
        run_exported_dag(slow, {}, airflow_home=airflow.home, seconds=6)
    assert not [each for each in commands() if str(slow) in each]


@pytest.mark.parametrize("instead", ["without_airflow", "folder_named_airflow"])
def test_without_airflow_the_error_says_what_to_install(instead, request):
    """It names the extra; a folder that is named airflow is not Airflow."""
    request.getfixturevalue(instead)
    with pytest.raises(ImportError, match=r"Loading exported files .*pip install 'dkist-processing-core\[airflow\]'"):
        load_exported_dag("x.py")
    with pytest.raises(ImportError, match=r"Running exported files .*pip install 'dkist-processing-core\[airflow\]'"):
        run_exported_dag("x.py", {})
