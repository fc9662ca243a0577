"""Files are checked by a real Airflow before they are exported; the check leaves nothing behind."""

import os
import re
import tempfile

import pytest
from support.command_line import run_program, run_python
from support.processes import commands
from support.releases import REPOSITORY
from support.sources import flow, imported_sources

from dkist_processing_core.build_utils import validate_workflows
from dkist_processing_core.rendering.dag import dag_file
from dkist_processing_core.validation import airflow as airflow_check
from dkist_processing_core.validation import rules
from dkist_processing_core.validation.airflow import AirflowUnusableError, LoadedFile, load_by_airflow

pytestmark = pytest.mark.airflow

DAG = """
try:
    from airflow.sdk import DAG
except ImportError:
    from airflow import DAG
{more}
with DAG("{name}", schedule=None, catchup=False, tags=[{tag}]) as dag:
    pass
"""


def test_each_file_is_checked_by_itself():
    """A broken, a changing, a warning and an empty file do not affect the result of a sound one."""
    found = load_by_airflow(
        {
            "sound.py": DAG.format(name="sound", tag="'a'", more=""),
            "broken.py": DAG.format(name="broken", tag="'a'", more="import no_such_module"),
            "syntax.py": "from airflow import DAG\ndag = (\n",
            "moving.py": DAG.format(name="moving", tag="str(time.time())", more="import time"),
            "warns.py": DAG.format(name="w", tag="'a'", more="import warnings; warnings.warn('old', FutureWarning)"),
            "none.py": "# airflow DAG\nx = 1\n",
        }
    )
    assert found["sound.py"] == LoadedFile("", ())
    assert "No module named 'no_such_module'" in found["broken.py"].problem
    assert "was never closed" in found["syntax.py"].problem
    assert found["moving.py"].problem.startswith("each time it is loaded it is a different DAG")
    assert found["warns.py"].problem == "it makes Airflow warn: old"
    assert found["none.py"].problem == "Airflow finds no DAG in it"


def test_a_file_that_airflow_refuses_is_a_fault_of_its_workflow(tmp_path, monkeypatch):
    """The fault has Airflow's reason; a mock breaks one file, since rendering does not."""

    def rendered(spec):
        return dag_file(spec) + ("import no_such_module\n" if "two" in spec.name else "")

    monkeypatch.setattr(rules, "dag_file", rendered)
    with (
        imported_sources(tmp_path, {"one.py": flow("one"), "two.py": flow("two")}) as package,
        pytest.raises(ValueError, match="1 fault") as caught,
    ):
        validate_workflows(package)
    report = caught.value.report
    assert [fault.workflow for fault in report.faults] == ["a_to_b_cam_two"]
    assert report.faults[0].what.startswith("Airflow refuses it: ")
    assert "No module named 'no_such_module'" in report.faults[0].what


def test_an_airflow_that_cannot_be_run_is_one_fault(camera, tmp_path):
    """It is a fault of the package, not of each workflow, with Airflow's output."""
    (tmp_path / "instead" / "airflow").mkdir(parents=True)
    (tmp_path / "instead" / "airflow" / "__init__.py").write_text("raise RuntimeError('the database has no driver')\n")
    output = run_program("validate", camera, PYTHONPATH=str(tmp_path / "instead")).check(status=1).stdout
    assert output.startswith(f"{camera}: 1 fault, ")
    assert "Airflow is installed and cannot be run: exit status 1. It said:" in output
    assert "RuntimeError: the database has no driver" in output
    assert not (tmp_path / "dags").exists()


def test_an_airflow_that_hangs_is_ended(monkeypatch, tmp_path):
    """None of its processes is left."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(airflow_check, "START_SECONDS", 8)
    monkeypatch.setattr(airflow_check, "SECONDS_PER_FILE", 0)
    hanging = DAG.format(name="hangs", tag="'a'", more="import time; time.sleep(25)")
    with pytest.raises(AirflowUnusableError, match="it did not load the files within 8 s"):
        load_by_airflow({"hangs.py": hanging, "hangs_too.py": hanging})
    assert list(tmp_path.iterdir()) == []
    assert not [process for process in commands() if str(tmp_path) in process]


def test_nothing_stays_behind(tmp_path):
    """There is no configuration in the home folder, no temporary folder, and no Airflow in the calling process."""
    program = (
        "import sys; from dkist_processing_core.validation.airflow import load_by_airflow;"
        "print(load_by_airflow({'x.py': 'x = 1'}), 'airflow' in sys.modules)"
    )
    home, temporary, work = (tmp_path / name for name in ("home", "temporary", "work"))
    for each in (home, temporary, work):
        each.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    done = run_python(program, cwd=work, env={**environment, "HOME": str(home), "TMPDIR": str(temporary)})
    assert done.stdout == "{'x.py': LoadedFile(problem='Airflow finds no DAG in it', tasks=())} False\n", done.stderr
    assert [*home.iterdir(), *temporary.iterdir(), *work.iterdir()] == []


def test_the_settings_of_another_airflow_do_not_matter(monkeypatch):
    """Neither its home nor its variables, valid or not, reach the Airflow that checks."""
    monkeypatch.setenv("AIRFLOW_HOME", "/proc/none")
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "NoSuchExecutor")
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "nonsense://")
    monkeypatch.setenv("AIRFLOW__CORE__DAG_DISCOVERY_SAFE_MODE", "perhaps")
    assert load_by_airflow({"sound.py": DAG.format(name="sound", tag="'a'", more="")}) == {"sound.py": LoadedFile("")}


def test_only_one_module_knows_where_airflow_keeps_them():
    """The rest of the library, the examples and the support of the tests do not."""
    places = ("dkist_processing_core", "examples", "tests/support")
    files = [file for place in places for file in (REPOSITORY / place).rglob("*.py")]
    private = re.compile(
        r"airflow\.dag_processing\.dagbag|models\.dagbag|import DagBag|serialized_objects|dag\.test\(run_conf"
    )
    assert [file.name for file in files if private.search(file.read_text())] == ["dag_files.py"]
