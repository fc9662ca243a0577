"""What an export writes beside the DAG files, and its archive, in a real Airflow."""

import json
import shutil
import sys
import textwrap

import pytest
from support.releases import build_wheel, with_links, write_package

pytestmark = [pytest.mark.airflow, pytest.mark.network]

NAME = "dkist-archive-test"
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
    "workflows/flow.py": """
        from dkist_processing_core import ResourceQueue, Workflow
        from dkist_archive_test.tasks import One, Two

        def new(operator):
            made = Workflow(input_data="a", output_data="b", category="archive", detail=operator,
                            workflow_package=__package__, workflow_version="1.0", operator=operator)
            made.add_node(One)
            made.add_node(Two, upstreams=One, resource_queue=ResourceQueue.MULTI_CORE)
            return made

        bash, python_virtualenv = new("bash"), new("python_virtualenv")
    """,
}
EXPORT = """
    import sys
    import dkist_archive_test.workflows as package
    from dkist_processing_core.build_utils import export_archive, export_dags
    export_dags(package, sys.argv[1])
    print(export_archive(package, sys.argv[2]))
"""


@pytest.fixture(scope="module")
def exported(airflow, core_wheel, tmp_path_factory):
    """Folders with the wheels of a release and with what its export writes; its archive is where Airflow looks."""
    index = tmp_path_factory.mktemp("releases")
    for wheel in core_wheel.glob("*.whl"):
        shutil.copy(wheel, index)
    project = write_package(tmp_path_factory.mktemp("sources"), FILES, name=NAME)
    build_wheel(project, index)
    folder = tmp_path_factory.mktemp("exported")
    airflow.run(
        [sys.executable, "-c", textwrap.dedent(EXPORT), str(folder), str(airflow.dags)],
        environment={"PYTHONPATH": str(project / "src")},
    )
    archive = airflow.dags / "dkist-archive-test-1.0-dags.zip"
    assert archive.is_file()
    yield index, folder
    archive.unlink()


def test_airflow_takes_the_pools(new_airflow, exported):
    """By the command that the documentation shows."""
    _, folder = exported
    airflow = new_airflow("pools")
    output = airflow.run(["airflow", "pools", "import", str(folder / "pools.json")])
    assert "Uploaded 1 pool(s)" in output
    listed = airflow.run(["airflow", "pools", "list", "--output", "json"])
    pools = {each["pool"]: each for each in json.loads(listed[listed.index("[{") :])}
    assert pools["multi_core_pool"]["slots"] == "128"
    assert pools["multi_core_pool"]["description"] == "Tasks of the queue multi_core that may run at once."


def test_airflow_loads_the_archive_as_it_is(airflow, exported):
    """Both DAGs with their tasks, without an error or a warning, from the archive in its folder of DAGs."""
    loaded = airflow.drive("load", str(airflow.dags))
    assert (loaded["import_errors"], loaded["warnings"]) == ({}, [])
    for name in ("a_to_b_archive_bash_1.0", "a_to_b_archive_python_virtualenv_1.0"):
        assert loaded["dags"][name]["tasks"] == {"One": [], "Two": ["One"]}
        assert loaded["dags"][name]["queues"]["Two"] == ["multi_core", "multi_core_pool"]


@pytest.mark.parametrize("operator", ["bash", "python_virtualenv"])
def test_a_dag_runs_from_the_archive(airflow, exported, tmp_path, operator):
    """To its end, with either operator."""
    index, _ = exported
    done = airflow.drive(
        "run",
        str(airflow.dags),
        f"a_to_b_archive_{operator}_1.0",
        '{"recipe_run_id": 42}',
        environment={**with_links(index), "DKIST_ENVIRONMENT_CACHE": str(tmp_path / "environments")},
    )
    assert (done["state"], done["tasks"]) == ("success", {"One": "success", "Two": "success"})
    assert done["output"].count("team: archived 42") == 2
