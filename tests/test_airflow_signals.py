"""A task and the ways in which Airflow, or somebody else, ends it: no process of it is left behind."""

import os
import shutil
import signal
import sys
import textwrap
import time

import pytest
from support.processes import parent_of, wait_for, wait_until_dead
from support.releases import build_wheel, with_links, write_package
from support.script_package import FILES, NAME

pytestmark = [pytest.mark.airflow, pytest.mark.network, pytest.mark.timeout(600)]

DAG_ID = "a_to_b_single_{task}_1.0"
# Each task in a workflow of its own, so that a run is that one task.
WORKFLOWS = """
    from dkist_processing_core import Workflow
    from dkist_script_test import tasks

    for detail, name, operator in (
        ("Waits", "Waits", "bash"), ("Stubborn", "Stubborn", "bash"), ("virtualenv", "Waits", "python_virtualenv")
    ):
        workflow = Workflow(
            input_data="a", output_data="b", category="single", detail=detail, workflow_package=__package__,
            workflow_version="1.0", operator=operator,
        )
        workflow.add_node(getattr(tasks, name))
        globals()[detail] = workflow
"""
EXPORT = """
    import sys
    from dkist_processing_core.build_utils import export_dags
    import dkist_script_test.single as package
    export_dags(package, sys.argv[1])
"""


@pytest.fixture(scope="module")
def airflow_of_signals(core_wheel, new_airflow, tmp_path_factory):
    """An Airflow of its own with the exported workflows, and the settings of its workers."""
    airflow = new_airflow("signals")
    index = tmp_path_factory.mktemp("releases")
    for wheel in core_wheel.glob("*.whl"):
        shutil.copy(wheel, index)
    sources = {"tasks.py": FILES["tasks.py"], "single/flow.py": WORKFLOWS}
    project = write_package(tmp_path_factory.mktemp("sources"), sources, name=NAME)
    build_wheel(project, index)
    airflow.run(
        [sys.executable, "-c", textwrap.dedent(EXPORT), str(airflow.dags)],
        environment={"PYTHONPATH": str(project / "src")},
    )
    worker = {
        **with_links(index),
        "DKIST_ENVIRONMENT_CACHE": str(tmp_path_factory.mktemp("environments")),
        "DKIST_ISB_SPOOL": str(airflow.home / "spool"),
        "FACTS": str(airflow.home / "facts"),
    }
    return airflow, worker


@pytest.fixture(scope="module")
def api(airflow_of_signals):
    """A client of that Airflow, which runs."""
    airflow, worker = airflow_of_signals
    with airflow.serving(worker) as client:
        deadline = time.monotonic() + 90
        while client.call("GET", f"/api/v2/dags/{DAG_ID.format(task='Waits')}")[0] != 200:
            assert time.monotonic() < deadline, (airflow.home / "dag-processor.log").read_text()[-3000:]
            time.sleep(0.5)
        yield client


@pytest.fixture
def facts(airflow_of_signals):
    """The file that the task writes its process ids to, and the one that its teardown leaves."""
    airflow, _ = airflow_of_signals
    files = airflow.home / "facts", airflow.home / "facts.torn_down"
    for file in files:
        file.unlink(missing_ok=True)
    return files


def start(api, task, facts, detail=None):
    """Trigger the workflow of one task, and return the path of its task instance and the ids of its processes."""
    dag_id = DAG_ID.format(task=detail or task)
    status, run = api.call(
        "POST", f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": {"recipe_run_id": 1}}
    )
    assert status == 200, run
    return f"/api/v2/dags/{dag_id}/dagRuns/{run['dag_run_id']}/taskInstances/{task}", wait_for(facts[0], 120)


def mark_failed(api, instance, airflow_process):
    status, answer = api.call("PATCH", instance, {"new_state": "failed"})
    assert status == 200, answer


def send(number):
    def send_it(api, instance, airflow_process):
        os.kill(airflow_process, number)

    return send_it


@pytest.mark.parametrize(
    ("end", "seconds"),
    # Airflow looks at intervals whether somebody has marked a task, which comes on top.
    [(mark_failed, 15 + 15), (send(signal.SIGTERM), 15), (send(signal.SIGKILL), 15)],
    ids=["marked-failed", "sigterm", "sigkill"],
)
@pytest.mark.parametrize("task", ["Waits", "Stubborn"])
def test_no_process_of_an_ended_task_is_left(api, facts, task, end, seconds):
    """The task and its child are gone; unless it ignores the signal, its teardown ran."""
    instance, pids = start(api, task, facts)
    script = parent_of(pids[0])
    end(api, instance, parent_of(script))
    wait_until_dead([*pids, script], seconds)
    assert facts[1].exists() == (task == "Waits")


@pytest.mark.parametrize(
    ("end", "seconds"),
    # Airflow does not pass a SIGTERM of its own process on, see "Operators" in the documentation.
    [(mark_failed, 15 + 15), (send(signal.SIGKILL), 15)],
    ids=["marked-failed", "sigkill"],
)
def test_airflows_own_operator_leaves_no_process_of_an_ended_task(api, facts, end, seconds):
    """The kernel tells the task when Airflow's process is gone, and its teardown runs."""
    instance, pids = start(api, "Waits", facts, detail="virtualenv")
    end(api, instance, parent_of(pids[0]))
    wait_until_dead(pids, seconds)
    assert facts[1].exists()


@pytest.mark.parametrize("task", ["Waits", "Stubborn"])
def test_no_process_of_a_task_that_takes_too_long_is_left(new_airflow, airflow_of_signals, facts, task):
    """After Airflow's execution timeout; in an Airflow whose scheduler is not there to take the run."""
    exported, worker = airflow_of_signals
    airflow = new_airflow("timeouts")
    shutil.copytree(exported.dags, airflow.dags, dirs_exist_ok=True)
    limits = {"AIRFLOW__CORE__DEFAULT_TASK_EXECUTION_TIMEOUT": "5"}
    done = airflow.drive(
        "run", str(airflow.dags), DAG_ID.format(task=task), '{"recipe_run_id": 1}', environment=worker | limits
    )
    assert done["tasks"] == {task: "failed"}
    assert "AirflowTaskTimeout" in done["output"], done["output"][-6000:]
    wait_until_dead(wait_for(facts[0]), 15)
    assert facts[1].exists() == (task == "Waits")
