"""What Airflow's pages show of a task: its log with levels, its own error, and what it was started with."""

import json
import shutil
import sys
import textwrap
import time

import pytest
from support.processes import is_alive, wait_for, wait_until_dead
from support.releases import build_wheel, with_links, write_package

pytestmark = [pytest.mark.airflow, pytest.mark.network, pytest.mark.timeout(600)]

NAME = "dkist-log-test"
TASKS = """
    import logging, os, sys, time
    from pathlib import Path
    from dkist_processing_core import TaskBase

    logger = logging.getLogger("team")

    class Speaks(TaskBase):
        '''Log at each level.'''
        def run(self):
            print("printed")
            logger.debug("a detail")
            logger.info("a fact")
            logger.warning("a doubt")
            logger.error("an error\\nof two lines")
            logger.critical("the end")

    class Fails(TaskBase):
        '''Fail.'''
        def run(self):
            raise ValueError("the flat is missing")

    class Daemonizes(TaskBase):
        '''Leave a process in a session of its own, which holds the output open.'''
        def run(self):
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    Path(os.environ["FACTS"]).write_text(str(os.getpid()))
                    time.sleep(300)
                os._exit(0)
            while not Path(os.environ["FACTS"]).exists():
                time.sleep(0.1)
"""
WORKFLOWS = """
    from dkist_processing_core import Workflow
    from dkist_log_test import tasks

    for name in ("Speaks", "Fails", "Daemonizes"):
        workflow = Workflow(
            input_data="a", output_data="b", category="log", detail=name, workflow_package=__package__,
            workflow_version="1.0",
        )
        workflow.add_node(getattr(tasks, name))
        globals()[name] = workflow
"""
EXPORT = """
    import sys
    from dkist_processing_core.build_utils import export_dags
    import dkist_log_test.workflows as package
    export_dags(package, sys.argv[1])
"""
# What stands in the log of a task before and after what the task says.
DONE = {"success", "failed"}


@pytest.fixture(scope="module")
def worker(core_wheel, new_airflow, tmp_path_factory):
    """An Airflow of its own with the exported workflows, and the settings of its workers."""
    airflow = new_airflow("log")
    index = tmp_path_factory.mktemp("releases")
    for wheel in core_wheel.glob("*.whl"):
        shutil.copy(wheel, index)
    project = write_package(
        tmp_path_factory.mktemp("sources"), {"tasks.py": TASKS, "workflows/flow.py": WORKFLOWS}, name=NAME
    )
    build_wheel(project, index)
    airflow.run(
        [sys.executable, "-c", textwrap.dedent(EXPORT), str(airflow.dags)],
        environment={"PYTHONPATH": str(project / "src")},
    )
    settings = {
        **with_links(index),
        "DKIST_ENVIRONMENT_CACHE": str(tmp_path_factory.mktemp("environments")),
        "DKIST_ISB_SPOOL": str(airflow.home / "spool"),
        "DKIST_LOG_LEVEL": "DEBUG",
        "FACTS": str(airflow.home / "facts"),
        # Nothing listens there, so the failure message cannot be sent.
        "MESH_CONFIG": '{"interservice-bus": {"mesh_address": "127.0.0.1", "mesh_port": 9}}',
    }
    return airflow, settings


@pytest.fixture(scope="module")
def api(worker):
    """A client of that Airflow, which runs."""
    airflow, settings = worker
    with airflow.serving(settings) as client:
        deadline = time.monotonic() + 90
        while client.call("GET", "/api/v2/dags/a_to_b_log_Daemonizes_1.0")[0] != 200:
            assert time.monotonic() < deadline, (airflow.home / "dag-processor.log").read_text()[-3000:]
            time.sleep(0.5)
        yield client


def run(api, task, *, seconds=120):
    """Run the workflow of one task to its end; return its task instance and the events of its log."""
    dag_id = f"a_to_b_log_{task}_1.0"
    status, started = api.call(
        "POST", f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": {"recipe_run_id": 42}}
    )
    assert status == 200, started
    place = f"/api/v2/dags/{dag_id}/dagRuns/{started['dag_run_id']}/taskInstances/{task}"
    deadline = time.monotonic() + seconds
    while (instance := api.call("GET", place)[1])["state"] not in DONE:
        assert time.monotonic() < deadline, instance
        time.sleep(0.3)
    # Airflow goes on to log, about the callback for instance, when the task has its final state.
    time.sleep(2)
    status, log = api.call("GET", f"{place}/logs/1?full_content=true")
    assert status == 200, log
    return instance, [each for each in log["content"] if isinstance(each, dict)]


def test_every_record_has_the_level_of_the_task(api):
    """So the filter of Airflow's pages finds it; what is printed is INFO; a record of several lines is one event."""
    instance, events = run(api, "Speaks")
    assert instance["state"] == "success"
    told = [(each.get("level"), each["event"]) for each in events]
    start = told.index(("info", "printed"))
    assert told[start : start + 6] == [
        ("info", "printed"),
        ("debug", "team: a detail"),
        ("info", "team: a fact"),
        ("warning", "team: a doubt"),
        ("error", "team: an error\nof two lines"),
        ("critical", "team: the end"),
    ]


def test_the_error_of_the_task_is_what_airflow_shows(api):
    """The first event at ERROR is the task's own traceback, and the exception that Airflow shows has its error."""
    instance, events = run(api, "Fails")
    assert instance["state"] == "failed"
    errors = [each for each in events if each.get("level") in {"error", "critical"}]
    first = errors[0]["event"]
    assert first.startswith("Task dkist_log_test.tasks:Fails failed: ValueError: the flat is missing\nTraceback (most")
    assert first.endswith("\nValueError: the flat is missing")
    assert "dkist_processing_core" not in first
    assert 'File "dkist_log_test/tasks.py", line ' in first
    shown = json.dumps([each for each in events if "error_detail" in each])
    assert "TaskFailedError" in shown
    assert "ValueError: the flat is missing (exit status 1)" in shown
    assert "Bash command failed" not in json.dumps(events)
    warnings = [each["event"] for each in events if each.get("level") == "warning"]
    assert [each for each in warnings if "spool" in each], events
    assert [each["event"] for each in errors if "message" in each["event"].lower()] == []


def test_rendered_templates_show_what_the_task_was_started_with(api):
    """Short and whole."""
    instance, _ = run(api, "Speaks")
    assert instance["rendered_fields"] == {
        "task": "dkist_log_test.tasks:Speaks",
        "requirement": "dkist-log-test[frozen]==1.0",
        "workflow": "a_to_b_log_Speaks 1.0",
        "recipe_run_id": "42",
    }


def test_a_daemonized_process_neither_outlives_the_task_nor_delays_it(api, worker):
    """It is in a session of its own and holds the output of the task open; the task succeeds without it."""
    airflow, _ = worker
    run(api, "Speaks")  # so that no environment is built in the one that counts
    instance, _ = run(api, "Daemonizes", seconds=60)
    assert instance["state"] == "success"
    assert instance["duration"] < 30
    pids = wait_for(airflow.home / "facts")
    wait_until_dead(pids, 5)
    assert not any(map(is_alive, pids))
