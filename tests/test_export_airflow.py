"""What an export writes beside the DAG files, and its archive, in a real Airflow."""

import json
import zipfile

import pytest
from support.sources import workflows
from support.waiting import wait_until

from dkist_processing_core.authoring.spec import OPERATORS

FILES = {
    "tasks.py": '''
        import logging
        from dkist_processing_core import TaskBase

        class One(TaskBase):
            """Do one thing."""
            def run(self): logging.getLogger("team").info("archived %s", self.recipe_run_id)

        class Two(One):
            """Do another thing."""
    ''',
    "workflows/flow.py": workflows(
        "dkist_archive_test",
        "archive",
        {detail: {"One": "", "Two": "One"} for detail in OPERATORS},
        queues={"Two": "multi_core"},
        operators=dict(zip(OPERATORS, OPERATORS, strict=True)),
    ),
}
# The archive is written to where Airflow looks, and what else an export writes to a folder beside it.
EXPORT = """
import sys
from importlib import import_module
from pathlib import Path
from dkist_processing_core.build_utils import export_archive, export_dags
package = import_module(sys.argv[1])
export_archive(package, sys.argv[2])
export_dags(package, Path(sys.argv[2]).with_name("exported"))
"""


@pytest.fixture(scope="module")
def deployed(deploy):
    """Airflow with the archive of a release."""
    made = deploy("dkist-archive-test", FILES, export=EXPORT)
    assert [each.name for each in made.airflow.dags.iterdir()] == ["dkist-archive-test-1.0-dags.zip"]
    return made


def test_airflow_imports_the_pools(deployed):
    """The command in the documentation creates them."""
    airflow = deployed.airflow
    output = airflow.run(["airflow", "pools", "import", airflow.home / "exported" / "pools.json"])
    assert "Uploaded 1 pool(s)" in output
    listed = airflow.run(["airflow", "pools", "list", "--output", "json"])
    pools = {each["pool"]: each for each in json.loads(listed[listed.index("[{") :])}
    assert pools["multi_core_pool"]["slots"] == "128"
    assert pools["multi_core_pool"]["description"] == "Tasks of the queue multi_core that may run at once."


def test_airflow_loads_the_archive(deployed):
    """It finds both DAGs with their tasks, without an error or a warning."""
    loaded = deployed.airflow.load()
    assert (loaded["import_errors"], loaded["warnings"]) == ({}, [])
    for name in ("a_to_b_archive_bash_1.0", "a_to_b_archive_python_virtualenv_1.0"):
        assert loaded["dags"][name]["tasks"] == {"One": [], "Two": ["One"]}
        assert loaded["dags"][name]["queues"]["Two"] == ["multi_core", "multi_core_pool"]


def test_what_archives_lose_is_said_where_an_operator_looks(deployed):
    """The page of a DAG in our archive has a warning, and the import errors name the files of an archive of theirs."""
    exported = sorted((deployed.airflow.home / "exported").glob("*.py"))
    with zipfile.ZipFile(deployed.airflow.dags / "theirs.zip", "w") as archive:
        for number, file in enumerate(exported):
            text = file.read_text().replace("a_to_b_archive", f"other_{number}")
            archive.writestr(file.name.replace("a_to_b_archive", "other"), text)
    with deployed.serving("a_to_b_archive_bash_1.0") as api:
        _, details = api.call("GET", "/api/v2/dags/a_to_b_archive_bash_1.0/details")
        assert "does not report a task whose Airflow process is killed" in details["doc_md"]
        assert "`dkist-processing-core export --one-file`" in details["doc_md"]

        def errors():
            found = api.call("GET", "/api/v2/importErrors")[1]["import_errors"]
            return {each["filename"].rpartition("/")[2]: each["stack_trace"] for each in found}

        wait_until(lambda: len(errors()) == len(exported), errors, interval=0.5)
        for name, problem in errors().items():
            assert problem.strip().endswith(f"No module named {name.removesuffix('.0.py')!r}"), name
    (deployed.airflow.dags / "theirs.zip").unlink()


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_dag_runs_from_the_archive(deployed, operator):
    """With either operator it runs to success."""
    done = deployed.run(f"a_to_b_archive_{operator}_1.0", {"recipe_run_id": 42})
    assert (done["state"], done["tasks"]) == ("success", {"One": "success", "Two": "success"})
    assert done["output"].count("team: archived 42") == 2
