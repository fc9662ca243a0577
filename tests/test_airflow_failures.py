"""Failures on a real Airflow with scheduler, DAG processor and a real broker: one message each, whatever happened."""

import json
import os
import shutil
import signal
import sys
import textwrap
import time

import pytest
from support.processes import parent_of, wait_for, wait_until_dead
from support.releases import build_wheel, with_links, write_package

pytestmark = [pytest.mark.airflow, pytest.mark.network, pytest.mark.rabbitmq, pytest.mark.timeout(600)]

QUEUE = "recipe.run.failure.q"
TASKS = """
    import os
    import time
    from pathlib import Path
    from dkist_processing_core import TaskBase

    class Fails(TaskBase):
        def run(self): raise RuntimeError("the flat is missing")
    class FailsThrice(Fails):
        retries = 2
        retry_delay_seconds = 1
    class Waits(TaskBase):
        def run(self):
            Path(os.environ["FACTS"]).write_text(str(os.getpid()))
            time.sleep(120)
    class WaitsToo(Waits): pass
    class Succeeds(TaskBase):
        def run(self): pass
"""
WORKFLOWS = """
    from dkist_processing_core import Workflow
    from dkist_failure_test.tasks import Fails, FailsThrice, Succeeds, Waits, WaitsToo

    def new(detail, *chain, **arguments):
        workflow = Workflow(input_data="a", output_data="b", category="failure", detail=detail,
                            workflow_package=__package__, workflow_version="1.0", **arguments)
        for task, upstream in zip(chain, [None, *chain]):
            workflow.add_node(task, upstreams=upstream)
        return workflow

    once = new("once", Fails, Succeeds)
    thrice = new("thrice", FailsThrice)
    virtualenv = new("virtualenv", Fails, operator="python_virtualenv")
    killed = new("killed", Succeeds, Waits)
    orphaned = new("orphaned", Waits)
    both = new("both", Fails)
    both.add_node(WaitsToo)
"""
EXPORT = """
    import sys
    from dkist_processing_core.build_utils import export_dags
    import dkist_failure_test.workflows as package
    export_dags(package, sys.argv[1])
"""


@pytest.fixture(scope="module")
def deployed(core_wheel, new_airflow, rabbitmq, tmp_path_factory):
    """An Airflow of its own with the exported workflows, and the settings of its workers."""
    airflow = new_airflow("failures")
    index = tmp_path_factory.mktemp("releases")
    for wheel in core_wheel.glob("*.whl"):
        shutil.copy(wheel, index)
    sources = {"tasks.py": TASKS, "workflows/flow.py": WORKFLOWS}
    project = write_package(tmp_path_factory.mktemp("sources"), sources, name="dkist-failure-test")
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
        "MESH_CONFIG": rabbitmq.mesh_config,
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "5",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    }
    rabbitmq.forget(QUEUE)
    # The DAG processor sees another spool folder, as on another machine.
    with airflow.serving(worker, {"dag-processor": {"DKIST_ISB_SPOOL": str(airflow.home / "other-spool")}}) as api:
        deadline = time.monotonic() + 90
        while api.call("GET", "/api/v2/dags/a_to_b_failure_both_1.0")[0] != 200:
            assert time.monotonic() < deadline, (airflow.home / "dag-processor.log").read_text()[-3000:]
            time.sleep(0.5)
        yield airflow, api


def trigger(api, detail):
    """Start a run and return its address."""
    dag_id = f"a_to_b_failure_{detail}_1.0"
    status, run = api.call(
        "POST", f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": {"recipe_run_id": 42}}
    )
    assert status == 200, run
    return f"/api/v2/dags/{dag_id}/dagRuns/{run['dag_run_id']}"


def messages_of(deployed, rabbitmq, run):
    """Wait until a run has failed and its callbacks have run, and return the bodies of the messages."""
    airflow, api = deployed
    deadline = time.monotonic() + 180
    while api.call("GET", run)[1]["state"] != "failed":
        assert time.monotonic() < deadline, "the run does not end"
        time.sleep(0.5)
    dag_id = run.split("/")[4]
    log = airflow.home / "logs" / "dag_processor" / "latest" / "dags-folder" / f"{dag_id}.py.log"
    while "failed tasks had not reported their failure" not in log.read_text():
        assert time.monotonic() < deadline, "the callback of the DAG does not run"
        time.sleep(0.5)
    time.sleep(3)  # for a message that should not be there
    taken = rabbitmq.take_all(QUEUE)
    bodies = [json.loads(body) for _, body in taken]
    assert [properties.message_id for properties, _ in taken] == [body["conversationId"] for body in bodies]
    assert errors_of_the_dag_processor(airflow, log) == []
    return [body for body in bodies if body["dagRunId"] == run.rpartition("/")[2]]


def errors_of_the_dag_processor(airflow, log):
    """Return the errors in its own log and in that of a file: Airflow logs an XCom that is refused, or not found."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    own = (airflow.home / "dag-processor.log").read_text().splitlines()
    return [line for line in own if "[error " in line] + [line for line in lines if line["level"] == "error"]


@pytest.mark.parametrize("detail", ["once", "virtualenv"])
def test_an_ordinary_failure_gives_one_message(deployed, rabbitmq, detail):
    """It says where the log is, which try it was, how it ended and what the error of the task was."""
    _, api = deployed
    run = trigger(api, detail)
    [body] = messages_of(deployed, rabbitmq, run)
    assert (body["taskName"], body["workflowVersion"], body["tryNumber"]) == ("Fails", "1.0", 1)
    assert (body["recipeRunId"], body["exitCode"], body["signal"]) == (42, 1, None)
    assert body["error"].endswith("RuntimeError: the flat is missing")
    assert body["logUrl"].startswith(f"{api.address}/dags/a_to_b_failure_{detail}_1.0/runs/")
    assert "/tasks/Fails" in body["logUrl"]


def test_a_failure_with_two_retries_gives_one_message(deployed, rabbitmq):
    """After the last try."""
    _, api = deployed
    [body] = messages_of(deployed, rabbitmq, trigger(api, "thrice"))
    assert (body["taskName"], body["tryNumber"]) == ("FailsThrice", 3)


def test_a_task_whose_airflow_process_is_killed_gives_one_message(deployed, rabbitmq):
    """Airflow's callback of the task does not run then; that of the DAG does, and names the task."""
    airflow, api = deployed
    facts = airflow.home / "facts"
    facts.unlink(missing_ok=True)
    run = trigger(api, "killed")
    [pid] = wait_for(facts, 120)
    os.kill(parent_of(parent_of(pid)), signal.SIGKILL)
    wait_until_dead([pid], 15)
    [body] = messages_of(deployed, rabbitmq, run)
    assert (body["taskName"], body["tryNumber"], body["recipeRunId"]) == ("Waits", 1, 42)
    assert "was killed" in body["error"]
    assert body["logUrl"].startswith(f"{api.address}/dags/a_to_b_failure_killed_1.0/runs/")


def test_an_ordinary_failure_beside_a_killed_task_gives_one_message_each(deployed, rabbitmq):
    """The failure that its task has reported is not reported again with the other."""
    airflow, api = deployed
    facts = airflow.home / "facts"
    facts.unlink(missing_ok=True)
    run = trigger(api, "both")
    [pid] = wait_for(facts, 120)
    time.sleep(10)  # until the other one has failed
    os.kill(parent_of(parent_of(pid)), signal.SIGKILL)
    bodies = messages_of(deployed, rabbitmq, run)
    assert sorted(body["taskName"] for body in bodies) == ["Fails", "WaitsToo"]


def test_a_task_whose_supervisor_is_killed_gives_one_message(deployed, rabbitmq):
    """Airflow misses its heartbeat and calls back for the task, and then for the run, both in the DAG processor."""
    airflow, api = deployed
    facts = airflow.home / "facts"
    facts.unlink(missing_ok=True)
    run = trigger(api, "orphaned")
    [pid] = wait_for(facts, 120)
    runner = parent_of(parent_of(pid))
    for each in (parent_of(runner), runner):
        os.kill(each, signal.SIGKILL)
    wait_until_dead([pid], 15)
    [body] = messages_of(deployed, rabbitmq, run)
    assert (body["taskName"], body["tryNumber"], body["recipeRunId"]) == ("Waits", 1, 42)
