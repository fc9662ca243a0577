"""A task continues the trace that it is started in, and its child processes continue the task's."""

import pytest
from support.apm import intake
from support.command_line import run_python
from support.recorded_tasks import PHASES, TASK, assert_unchanged, run_task

pytest.importorskip("opentelemetry.proto", reason="the extra otel is not installed")

from support.otlp import http_collector

pytestmark = pytest.mark.once

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def record(source=TASK, **environment):
    """Run a task that is recorded by both; return how it ended, the transactions and the root spans."""
    with intake() as received, http_collector() as collected:
        on = {"ELASTIC_APM_ENABLED": "true", "MESH_CONFIG": received.mesh_config}
        done = run_task(source, **{**on, "OTEL_EXPORTER_OTLP_ENDPOINT": collected.url, **environment})
    return done, received, collected


@pytest.mark.parametrize(
    "traceparent",
    [f"00-{TRACE}-{PARENT}-01", f" 00-{TRACE}-{PARENT}-03\n", f"01-{TRACE}-{PARENT}-01-more"],
    ids=["plain", "spaces and another flag", "later version"],
)
def test_a_task_continues_the_trace_that_it_is_started_in(traceparent):
    """TRACEPARENT gives both records their trace and the parent of their root."""
    done, received, collected = record(TRACEPARENT=traceparent, TRACESTATE="es=s:0.5,other=1")
    assert_unchanged(done)
    transaction, [root] = received.transaction, collected.roots
    assert (transaction["trace_id"], transaction["parent_id"]) == (TRACE, PARENT)
    assert (root.trace, root.parent) == (TRACE, PARENT)
    assert received.tree(transaction) == collected.tree(root) == PHASES


MALFORMED = {
    "empty": "",
    "nonsense": "nonsense",
    "no numbers": "00-nonsense-nonsense-01",
    "too short": f"00-{TRACE}-{PARENT}",
    "too long": f"00-{TRACE}-{PARENT}-01-more",
    "no version": f"ff-{TRACE}-{PARENT}-01",
    "trace 0": f"00-{'0' * 32}-{PARENT}-01",
    "span 0": f"00-{TRACE}-{'0' * 16}-01",
    "capitals": f"00-{TRACE.upper()}-{PARENT}-01",
    "no flags": f"00-{TRACE}-{PARENT}-0g",
    "no text": "\udc80",
}


@pytest.mark.parametrize("traceparent", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_traceparent_is_ignored(traceparent):
    """The task begins a trace of its own, which has one id on both."""
    done, received, collected = record(TRACEPARENT=traceparent)
    assert_unchanged(done)
    transaction, [root] = received.transaction, collected.roots
    assert "parent_id" not in transaction
    assert root.parent == ""
    assert transaction["trace_id"] == root.trace != TRACE
    assert "WARNING" not in done.stderr


@pytest.mark.parametrize("tracestate", ["es=s:nonsense", "=,=;;", "x" * 5000], ids=["no rate", "marks", "long"])
def test_a_malformed_tracestate_is_ignored(tracestate):
    """The trace is continued all the same."""
    done, received, collected = record(TRACEPARENT=f"00-{TRACE}-{PARENT}-01", TRACESTATE=tracestate)
    assert_unchanged(done)
    assert received.transaction["trace_id"] == collected.roots[0].trace == TRACE
    assert received.tree(received.transaction) == PHASES


PARENT_TASK = """
    import os, subprocess, sys
    from dkist_processing_core import TaskBase

    CHILD = '''
    from recorded_task import Child
    with Child(recipe_run_id=8, workflow_name="child", workflow_version="1") as task:
        task()
    '''

    class Child(TaskBase):
        def run(self):
            print("child")

    class Calibrate(TaskBase):
        def run(self):
            subprocess.run([sys.executable, "-c", CHILD], check=True)
            print("done", os.environ["TRACEPARENT"], flush=True)
"""


OFF = {
    "elastic": {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
    "opentelemetry": {"ELASTIC_APM_ENABLED": "false"},
    "both": {},
}


@pytest.mark.parametrize("backends", OFF)
def test_a_task_in_a_child_process_continues_the_trace_of_the_task(backends):
    """It finds the task's own TRACEPARENT in its environment."""
    done, received, collected = record(PARENT_TASK, TRACEPARENT=f"00-{TRACE}-{PARENT}-01", **OFF[backends])
    assert done.returncode == 0, done.stderr
    ids = set()
    if backends != "opentelemetry":
        child, task = received.transactions
        assert (child["name"], child["trace_id"], task["trace_id"]) == ("child.Child", TRACE, TRACE)
        assert (child["parent_id"], task["parent_id"]) == (task["id"], PARENT)
        ids.add(task["id"])
    if backends != "elastic":
        task, child = collected.roots
        assert (child.name, child.trace, task.trace) == ("child.Child", TRACE, TRACE)
        assert (child.parent, task.parent) == (task.id, PARENT)
        ids.add(task.id)
    # One id, so that one variable is enough for both.
    [own] = ids
    assert done.stdout == f"child\ndone 00-{TRACE}-{own}-01\n"


@pytest.mark.parametrize("before", ["", f"00-{TRACE}-{PARENT}-01"], ids=["none", "one"])
@pytest.mark.parametrize("failure", ["", "raise ValueError"], ids=["success", "failure"])
def test_the_environment_is_restored_after_the_task(before, failure):
    """TRACEPARENT is the task's own in its phases alone."""
    with intake() as received:
        done = run_python(
            f"""
            import contextlib, os
            from dkist_processing_core import TaskBase, telemetry

            class Calibrate(TaskBase):
                def pre_run(self):
                    print(os.environ["TRACEPARENT"] == telemetry.last_ids().traceparent)
                def run(self):
                    {failure or "pass"}

            assert telemetry.last_ids() is None
            made = Calibrate(1, "w", "1")
            made.meter  # begins to record
            print(os.environ.get("TRACEPARENT", ""))
            with contextlib.suppress(ValueError), made as task:
                task()
            print(os.environ.get("TRACEPARENT", ""))
            print(telemetry.last_ids().transaction_id)
            """,
            ELASTIC_APM_ENABLED="true",
            MESH_CONFIG=received.mesh_config,
            **({"TRACEPARENT": before} if before else {}),
        )
    assert done.stdout.splitlines() == [before, "True", before, received.transaction["id"]], done.stderr


def test_without_telemetry_there_are_no_ids_and_no_traceparent():
    """What was in the environment stays there."""
    source = """
    import os
    from dkist_processing_core import TaskBase, telemetry

    class Calibrate(TaskBase):
        def run(self):
            print(telemetry.last_ids(), os.environ.get("TRACEPARENT"))
    """
    assert run_task(source).stdout == "None None\n"
    assert run_task(source, TRACEPARENT="kept").stdout == "None kept\n"
