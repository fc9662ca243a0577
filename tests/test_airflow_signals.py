"""However Airflow, or somebody else, ends a task, no process of it is left behind."""

import os
import shutil
import signal

import pytest
from support.processes import parent_of, wait_for, wait_until_dead
from support.script_package import FILES, NAME
from support.sources import workflows

DAG_ID = "a_to_b_single_{task}_1.0"
# Each task in a workflow of its own, so that a run is that one task.
GRAPHS = {"Waits": {"Waits": ""}, "Stubborn": {"Stubborn": ""}, "virtualenv": {"Waits": ""}}
WORKFLOWS = workflows("dkist_script_test", "single", GRAPHS, operators={"virtualenv": "python_virtualenv"})


@pytest.fixture(scope="module")
def deployed(deploy):
    """Airflow with the exported workflows."""
    return deploy(NAME, {"tasks.py": FILES["tasks.py"], "single/flow.py": WORKFLOWS}, module="single")


@pytest.fixture(scope="module")
def api(deployed):
    """A client of that Airflow, which runs."""
    with deployed.serving(DAG_ID.format(task="Waits")) as client:
        yield client


@pytest.fixture
def facts(deployed):
    """The file that the task writes its process ids to, and the one that its teardown leaves."""
    files = deployed.facts, deployed.facts.with_suffix(".torn_down")
    for file in files:
        file.unlink(missing_ok=True)
    return files


def start(api, task, facts, detail=None):
    """Trigger the workflow of one task, and return the path of its task instance and the ids of its processes."""
    run = api.trigger(DAG_ID.format(task=detail or task), {"recipe_run_id": 1})
    return f"{run}/taskInstances/{task}", wait_for(facts[0])


def mark_failed(api, instance, airflow_process):
    status, answer = api.call("PATCH", instance, {"new_state": "failed"})
    assert status == 200, answer


def send(number):
    def send_it(api, instance, airflow_process):
        os.kill(airflow_process, number)

    return send_it


@pytest.mark.parametrize(
    "end", [mark_failed, send(signal.SIGTERM), send(signal.SIGKILL)], ids=["marked-failed", "sigterm", "sigkill"]
)
@pytest.mark.parametrize("task", ["Waits", "Stubborn"])
def test_no_process_of_an_ended_task_is_left(api, facts, task, end):
    """The task and its child have ended; the teardown ran unless the task ignores the signal."""
    instance, pids = start(api, task, facts)
    script = parent_of(pids[0])
    end(api, instance, parent_of(script))
    wait_until_dead([*pids, script])
    assert facts[1].exists() == (task == "Waits")


@pytest.mark.parametrize(
    "end",
    # Airflow does not pass a SIGTERM of its own process on, see "Operators" in the documentation.
    [mark_failed, send(signal.SIGKILL)],
    ids=["marked-failed", "sigkill"],
)
def test_airflows_own_operator_leaves_no_process_of_an_ended_task(api, facts, end):
    """The kernel sends the task a signal when Airflow's process is gone, and its teardown runs."""
    instance, pids = start(api, "Waits", facts, detail="virtualenv")
    end(api, instance, parent_of(pids[0]))
    wait_until_dead(pids)
    assert facts[1].exists()


@pytest.mark.parametrize("task", ["Waits", "Stubborn"])
def test_no_process_of_a_task_that_takes_too_long_is_left(new_airflow, deployed, facts, task):
    """Airflow's execution timeout ends all of them; no scheduler runs here, since it would take the run."""
    airflow = new_airflow("timeouts")
    shutil.copytree(deployed.airflow.dags, airflow.dags, dirs_exist_ok=True)
    for timeout in ("5", "120"):
        settings = {**deployed.worker, "AIRFLOW__CORE__DEFAULT_TASK_EXECUTION_TIMEOUT": timeout}
        done = airflow.run_dag(DAG_ID.format(task=task), {"recipe_run_id": 1}, settings)
        if facts[0].exists():  # the task has begun within the time
            break
    assert done["tasks"] == {task: "failed"}
    assert "AirflowTaskTimeout" in done["output"], done["output"][-6000:]
    wait_until_dead(wait_for(facts[0]))
    assert facts[1].exists() == (task == "Waits")
