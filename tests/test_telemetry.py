"""Spans of a task, with the real agent, against a server that plays the intake."""

import os
import socket
import subprocess
import sys
import textwrap
import time

import pytest
from support.apm import intake, mesh_config
from support.ports import free_ports

PROGRAM = """
    import sys, time
    from dkist_processing_core import TaskBase

    class Calibrate(TaskBase):
        def pre_run(self):
            with self.apm_step("read", span_type="storage.fits.read", labels={"frames": 3}) as span:
                span.set_attribute("bytes", 12)
        def run(self):
            with self.telemetry_span("outer", attributes={"a": 1}):
                with self.apm_step("inner") as span:
                    span.set_attributes({"b": 2, "c": "x"})
                    span.set_attribute("self", 1)
                    span.set_attributes({4: 5})
            if "fail" in sys.argv:
                raise RuntimeError("no flat")

    started = time.monotonic()
    try:
        with Calibrate(recipe_run_id=7, workflow_name="l0_to_l1_cam", workflow_version="1.0") as task:
            task()
    except RuntimeError as error:
        print("failed", error)
    else:
        print("succeeded")
    print(time.monotonic() - started)
"""


def run(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", textwrap.dedent(PROGRAM), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    outcome, seconds = done.stdout.splitlines()
    return outcome, float(seconds), done.stderr


@pytest.mark.parametrize("arguments", [[], ["fail"]], ids=["success", "error"])
def test_a_task_is_one_transaction_with_its_spans(arguments):
    """Name, type, result, labels, the tree of phases and steps, and the error if there is one."""
    with intake() as received:
        outcome, _, stderr = run(
            *arguments, ELASTIC_APM_ENABLED="true", MESH_CONFIG=received.mesh_config, NOMAD_ALLOC_ID="al"
        )
    assert outcome == ("failed no flat" if arguments else "succeeded"), stderr
    [transaction] = received.of_kind("transaction")
    assert (transaction["name"], transaction["type"]) == ("l0_to_l1_cam.Calibrate", "Task")
    assert (transaction["result"], transaction["outcome"]) == (
        ("Error", "failure") if arguments else ("Success", "success")
    )
    tags = transaction["context"]["tags"]
    assert (tags["recipe_run_id"], tags["workflow_name"], tags["workflow_version"]) == (7, "l0_to_l1_cam", "1.0")
    assert (tags["task_name"], tags["nomad_alloc_id"]) == ("Calibrate", "al")
    names = {transaction["id"]: None} | {span["id"]: span["name"] for span in received.of_kind("span")}
    tree = {(names[span["parent_id"]], span["name"]) for span in received.of_kind("span")}
    phases = {(None, "Pre Run"), ("Pre Run", "read"), (None, "Run"), ("Run", "outer"), ("outer", "inner")}
    assert tree == (phases if arguments else phases | {(None, "Post Run")})
    spans = {span["name"]: span for span in received.of_kind("span")}
    assert spans["Run"]["type"] == "code"
    assert spans["Run"]["context"]["tags"] == {"type": "core"}
    assert spans["read"]["context"]["tags"] == {"frames": 3, "bytes": 12}
    assert {"b": 2, "c": "x"}.items() <= spans["inner"]["context"]["tags"].items()
    assert [error["exception"]["message"] for error in received.of_kind("error")] == (
        ["RuntimeError: no flat"] if arguments else []
    )
    [metadata] = received.of_kind("metadata")
    assert metadata["service"]["name"] == "l0-to-l1-cam-1-0"
    assert metadata["service"]["environment"] == "Workflows"


def test_without_configuration_nothing_is_recorded():
    """The agent is not even imported."""
    with intake() as received:
        outcome, _, _ = run(MESH_CONFIG=received.mesh_config)
    assert (outcome, received.events, received.paths) == ("succeeded", [], [])


def test_a_server_that_is_down_changes_nothing():
    """The task succeeds all the same."""
    [port] = free_ports(1)
    assert run(ELASTIC_APM_ENABLED="true", MESH_CONFIG=mesh_config(port))[0] == "succeeded"


def test_a_server_that_refuses_changes_nothing():
    """503, as when its queue is full."""
    with intake(503) as received:
        assert run(ELASTIC_APM_ENABLED="true", MESH_CONFIG=received.mesh_config)[0] == "succeeded"


def test_an_agent_that_cannot_start_is_a_warning():
    """A malformed setting costs the spans, not the task."""
    outcome, _, stderr = run(ELASTIC_APM_ENABLED="true", MESH_CONFIG="{")
    assert outcome == "succeeded"
    assert "Elastic APM is enabled but cannot be started" in stderr


def test_a_silent_server_is_not_waited_for_without_limit():
    """A server that accepts and never answers: the end of the task is bounded by the agent's settings."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        mesh = mesh_config(listener.getsockname()[1])
        started = time.monotonic()
        outcome, _, _ = run(ELASTIC_APM_ENABLED="true", MESH_CONFIG=mesh)
        assert outcome == "succeeded"
        assert time.monotonic() - started < 10
