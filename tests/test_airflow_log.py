"""What Airflow's pages show of a task: its log with levels, its own error, and what it was started with."""

import json

import pytest
from support.mesh import mesh_config
from support.sources import workflows
from support.waiting import wait_until

TASKS = """
    import logging
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
"""
WORKFLOWS = workflows("dkist_log_test", "log", {name: {name: ""} for name in ("Speaks", "Fails")})


@pytest.fixture(scope="module")
def deployed(deploy):
    """Airflow with the exported workflows."""
    return deploy("dkist-log-test", {"tasks.py": TASKS, "workflows/flow.py": WORKFLOWS})


@pytest.fixture(scope="module")
def api(deployed):
    """A client of that Airflow, which runs; no failure message can be sent, since nothing listens on port 9."""
    settings = {"DKIST_LOG_LEVEL": "DEBUG", "MESH_CONFIG": mesh_config(9)}
    with deployed.serving("a_to_b_log_Fails_1.0", **settings) as client:
        yield client


def run(api, task, *, shows=""):
    """Run the workflow of one task to its end; return its instance and, once they show a text, the logged events."""
    place = f"{api.trigger(f'a_to_b_log_{task}_1.0', {'recipe_run_id': 42})}/taskInstances/{task}"
    instance = api.wait_for_end(place)
    events = []

    def is_complete():
        # Airflow goes on to log, about the callback for instance, when the task has its final state.
        status, log = api.call("GET", f"{place}/logs/1?full_content=true")
        assert status == 200, log
        events[:] = [each for each in log["content"] if isinstance(each, dict)]
        return shows in json.dumps(events)

    wait_until(is_complete, lambda: f"{shows!r} is not in {events}", interval=0.5)
    return instance, events


def test_every_record_has_the_level_of_the_task(api):
    """Airflow's filter finds it; printed lines are INFO; a record of several lines is one event."""
    instance, events = run(api, "Speaks", shows="team: the end")
    assert instance["state"] == "success"
    logged = [(each.get("level"), each["event"]) for each in events]
    start = logged.index(("info", "printed"))
    assert logged[start : start + 6] == [
        ("info", "printed"),
        ("debug", "team: a detail"),
        ("info", "team: a fact"),
        ("warning", "team: a doubt"),
        ("error", "team: an error\nof two lines"),
        ("critical", "team: the end"),
    ]


def test_the_error_of_the_task_is_what_airflow_shows(api):
    """The first event at ERROR is the task's own traceback, and the exception that Airflow shows has its error."""
    instance, events = run(api, "Fails", shows="is spooled in")
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


def test_rendered_templates_show_the_values_of_the_task(api):
    """Each of the four values is short and complete."""
    instance, _ = run(api, "Speaks")
    assert instance["rendered_fields"] == {
        "task": "dkist_log_test.tasks:Speaks",
        "requirement": "dkist-log-test[frozen]==1.0",
        "workflow": "a_to_b_log_Speaks 1.0",
        "recipe_run_id": "42",
    }
