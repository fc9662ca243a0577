"""Failures on a real Airflow with scheduler, DAG processor and a real broker: one message each, whatever happened."""

import json
import os
import signal
import time

import pytest
from support.messages import QUEUE
from support.processes import parent_of, wait_for, wait_until_dead
from support.releases import EXPORT
from support.sources import workflows
from support.waiting import wait_until

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
            time.sleep(600)
    class WaitsToo(Waits): pass
    class Succeeds(TaskBase):
        def run(self): pass
"""
GRAPHS = {
    "once": {"Fails": "", "Succeeds": "Fails"},
    "thrice": {"FailsThrice": ""},
    "virtualenv": {"Fails": ""},
    "killed": {"Succeeds": "", "Waits": "Succeeds"},
    "both": {"Fails": "", "WaitsToo": ""},
}
WORKFLOWS = workflows("dkist_failure_test", "failure", GRAPHS, operators={"virtualenv": "python_virtualenv"})
RELEASE = workflows("dkist_failure_test", "failure", {"beside": {"Fails": ""}, "bundled": GRAPHS["killed"]})
FILES = {"tasks.py": TASKS, "workflows/flow.py": WORKFLOWS, "release/flow.py": RELEASE}
# The workflows of the second package as one file.
EXPORT_BOTH = (
    EXPORT
    + """
from dkist_processing_core.build_utils import export_one_file
export_one_file(import_module("dkist_failure_test.release"), sys.argv[2])
"""
)
ONE_FILE = "dkist-failure-test-1.0-dags"
CONF = {"recipe_run_id": 42}
DAG_ID = "a_to_b_failure_{}_1.0"


@pytest.fixture(scope="module")
def deployed(deploy):
    """Airflow with the exported workflows."""
    return deploy("dkist-failure-test", FILES, export=EXPORT_BOTH)


@pytest.fixture(scope="module")
def api(deployed, rabbitmq):
    """A client of that Airflow, which runs."""
    rabbitmq.forget(QUEUE)
    # The DAG processor sees another spool folder, as on another machine.
    other = {"dag-processor": {"DKIST_ISB_SPOOL": str(deployed.airflow.home / "other-spool")}}
    with deployed.serving(DAG_ID.format("both"), of_component=other, MESH_CONFIG=rabbitmq.mesh_config) as client:
        yield client


def messages_of(deployed, api, rabbitmq, run, file=None):
    """Wait until a run has failed and its callbacks have run, and return the bodies of the messages."""
    assert api.wait_for_end(run)["state"] == "failed"
    file = file or run.split("/")[4]
    log = deployed.airflow.home / "logs" / "dag_processor" / "latest" / "dags-folder" / f"{file}.py.log"
    has_run = "failed tasks had not reported their failure"
    wait_until(lambda: has_run in log.read_text(), "the callback of the DAG does not run", interval=0.5)
    time.sleep(3)  # for a message that should not be there
    taken = rabbitmq.take_all(QUEUE)
    bodies = [json.loads(body) for _, body in taken]
    assert [properties.message_id for properties, _ in taken] == [body["conversationId"] for body in bodies]
    assert errors_of_the_dag_processor(deployed.airflow, log) == []
    return [body for body in bodies if body["dagRunId"] == run.rpartition("/")[2]]


def errors_of_the_dag_processor(airflow, log):
    """Return the errors in its own log and in that of a file: Airflow logs an XCom that is refused, or not found."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    own = (airflow.home / "dag-processor.log").read_text().splitlines()
    return [line for line in own if "[error " in line] + [line for line in lines if line["level"] == "error"]


def start_waiting(deployed, api, detail):
    """Start a run of which one task waits; return its address and the process of that task."""
    deployed.facts.unlink(missing_ok=True)
    run = api.trigger(DAG_ID.format(detail), CONF)
    [pid] = wait_for(deployed.facts)
    return run, pid


@pytest.mark.parametrize("detail", ["once", "virtualenv"])
def test_an_ordinary_failure_gives_one_message(deployed, api, rabbitmq, detail):
    """The message has the address of the log, the try, the exit code and the error of the task."""
    run = api.trigger(DAG_ID.format(detail), CONF)
    [body] = messages_of(deployed, api, rabbitmq, run)
    assert (body["taskName"], body["workflowVersion"], body["tryNumber"]) == ("Fails", "1.0", 1)
    assert (body["recipeRunId"], body["exitCode"], body["signal"]) == (42, 1, None)
    assert body["error"].endswith("RuntimeError: the flat is missing")
    assert body["logUrl"].startswith(f"{api.address}/dags/a_to_b_failure_{detail}_1.0/runs/")
    assert "/tasks/Fails" in body["logUrl"]


def test_a_failure_with_two_retries_gives_one_message(deployed, api, rabbitmq):
    """The last try publishes it."""
    [body] = messages_of(deployed, api, rabbitmq, api.trigger(DAG_ID.format("thrice"), CONF))
    assert (body["taskName"], body["tryNumber"]) == ("FailsThrice", 3)


@pytest.mark.parametrize(("detail", "file"), [("killed", None), ("bundled", ONE_FILE)], ids=["own-file", "one-file"])
def test_a_task_whose_airflow_process_is_killed_gives_one_message(deployed, api, rabbitmq, detail, file):
    """The callback of the task does not run; that of the DAG runs, and names the task."""
    run, pid = start_waiting(deployed, api, detail)
    os.kill(parent_of(parent_of(pid)), signal.SIGKILL)
    wait_until_dead([pid])
    [body] = messages_of(deployed, api, rabbitmq, run, file)
    assert (body["taskName"], body["tryNumber"], body["recipeRunId"]) == ("Waits", 1, 42)
    assert (body["workflowName"], body["workflowVersion"]) == (f"a_to_b_failure_{detail}", "1.0")
    assert "was killed" in body["error"]
    assert body["logUrl"].startswith(f"{api.address}/dags/a_to_b_failure_{detail}_1.0/runs/")


def test_an_ordinary_failure_beside_a_killed_task_gives_one_message_each(deployed, api, rabbitmq):
    """A failure that its task has reported is not reported again with the other one."""
    run, pid = start_waiting(deployed, api, "both")
    api.wait_for_end(f"{run}/taskInstances/Fails")
    wait_until(lambda: rabbitmq.count(QUEUE), "the other one does not report its failure")
    os.kill(parent_of(parent_of(pid)), signal.SIGKILL)
    bodies = messages_of(deployed, api, rabbitmq, run)
    assert sorted(body["taskName"] for body in bodies) == ["Fails", "WaitsToo"]
