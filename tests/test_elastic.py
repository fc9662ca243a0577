"""Elastic APM, with the real agent, against a server that plays the intake."""

import json

import jsonschema
import pytest
from support import odd_task
from support.apm import intake
from support.command_line import run_python
from support.http_server import Response, http_server
from support.recorded_tasks import FAILING_TASK, MANY, PHASES, TASK, assert_unchanged, run_task
from support.releases import REPOSITORY

pytestmark = pytest.mark.once

SCHEMAS = REPOSITORY.parent / "shared" / "apm-schema"


@pytest.fixture(scope="module")
def validators():
    """Validators of events by the schemas of the intake protocol, by the kind of the event; none without them."""
    schemas = {path.stem: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    # No file refers to another one, and none names its draft.
    return {kind: jsonschema.Draft7Validator(schema) for kind, schema in schemas.items()}


def assert_valid(received, validators):
    """Assert that every event is valid by the intake protocol, as far as there are validators."""
    assert received.refused == []
    faults = [
        f"{kind} {list(fault.absolute_path)}: {fault.message}"
        for kind, event in received.events
        if validators
        for fault in validators[kind].iter_errors(event)
    ]
    assert faults == []


def record(source=TASK, **environment):
    """Run a task against an intake of its own; return how it ended and what arrived."""
    with intake() as received:
        done = run_task(source, ELASTIC_APM_ENABLED="true", **{"MESH_CONFIG": received.mesh_config, **environment})
    return done, received


@pytest.mark.parametrize("source", [TASK, FAILING_TASK], ids=["success", "failure"])
def test_every_event_is_valid(source, validators):
    """Metadata, transaction, spans and error, by the schemas of the intake protocol."""
    if not validators:
        pytest.skip("optional: the schemas of the intake protocol are not beside the repository, in shared/apm-schema")
    done, received = record(source)
    kinds = {"metadata", "transaction", "span"} | ({"error"} if done.returncode else set())
    assert {kind for kind, _ in received.events} == kinds
    assert_valid(received, validators)


def test_a_task_is_one_transaction_with_the_spans_that_it_made():
    """Names, types, labels, parents and outcomes are those of the task, and nothing else arrives."""
    allocation = {"NOMAD_ALLOC_ID": "id", "NOMAD_ALLOC_NAME": "name", "NOMAD_GROUP_NAME": "group"}
    done, received = record(**allocation, DKIST_ENVIRONMENT_IDENTITY="0a")
    assert_unchanged(done)
    transaction = received.transaction
    assert (transaction["name"], transaction["type"]) == ("l0_to_l1_cam.Calibrate", "Task")
    assert (transaction["result"], transaction["outcome"]) == ("Success", "success")
    assert "parent_id" not in transaction
    tags = transaction["context"]["tags"]
    assert tags.pop("host_name")
    assert tags == {
        "recipe_run_id": 7,
        "workflow_name": "l0_to_l1_cam",
        "workflow_version": "1.0",
        "task_name": "Calibrate",
        "environment_identity": "0a",
        "nomad_allocation_id": "id",
        "nomad_allocation_name": "name",
        "nomad_allocation_group": "group",
    }
    assert received.tree(transaction) == PHASES
    assert transaction["span_count"] == {"started": len(received.spans), "dropped": 0}
    assert {span["outcome"] for span in received.spans} == {"success"}
    assert {span["name"]: (span["type"], span["subtype"], span["action"]) for span in received.spans} == {
        "Pre Run": ("code", "core", None),
        "read": ("storage", "fits", "read"),
        "Run": ("code", "core", None),
        "outer": ("code", "custom", None),
        "inner": ("code", "custom", None),
        "second": ("code", "custom", None),
        "Post Run": ("code", "core", None),
    }
    assert received.errors == []
    [metadata] = received.of_kind("metadata")
    assert metadata["service"]["name"] == "l0-to-l1-cam-1-0"
    assert metadata["service"]["environment"] == "Workflows"


def test_a_failure_is_the_result_the_outcome_and_an_error_event():
    """The error belongs to the span that it left first; the phase after it is not there."""
    done, received = record(FAILING_TASK)
    assert done.returncode == 1
    transaction = received.transaction
    assert (transaction["result"], transaction["outcome"]) == ("Error", "failure")
    assert received.tree(transaction) == PHASES[:2]
    assert {span["name"] for span in received.spans if span["outcome"] == "failure"} == {"Run"}
    [error] = received.errors
    assert error["exception"]["message"] == "RuntimeError: no flat"
    assert (error["exception"]["type"], error["exception"]["handled"]) == ("RuntimeError", False)
    assert error["parent_id"] == received.span("Run")["id"]
    assert (error["transaction_id"], error["trace_id"]) == (transaction["id"], transaction["trace_id"])


def test_an_error_belongs_to_the_innermost_span_that_it_left():
    """Not to the phase, which it left as well."""
    _, received = record(TASK.replace("pass\n", 'raise RuntimeError("deep")\n'))
    [error] = received.errors
    assert error["parent_id"] == received.span("second")["id"]
    failed = {span["name"] for span in received.spans if span["outcome"] == "failure"}
    assert failed == {"second", "outer", "Run"}


def test_an_exception_that_is_handled_can_be_recorded():
    """By the methods of OpenTelemetry's spans, which Elastic's have too."""
    done, received = record("""
        from dkist_processing_core import TaskBase

        class Calibrate(TaskBase):
            def run(self):
                with self.apm_step("first name") as span:
                    span.record_exception(ValueError("odd frame"))
                    span.update_name("last name")
                    span.add_event("seen")
                    assert span.is_recording()
                print("done")
    """)
    assert_unchanged(done)
    [error] = received.errors
    assert (error["exception"]["message"], error["exception"]["handled"]) == ("ValueError: odd frame", True)
    assert error["parent_id"] == received.span("last name")["id"]
    assert received.transaction["outcome"] == "success"


def test_local_variables_are_not_sent():
    """They may be secrets, and the agent takes seconds for a list of a million elements."""
    source = FAILING_TASK.replace("def run(self):", "def run(self):\n            password = 'top-secret'")
    _, received = record(source)
    assert len(received.errors) == 1
    assert not any("vars" in frame for frame in received.errors[0]["exception"]["stacktrace"])
    _, received = record(source, ELASTIC_APM_OTHER_OPTIONS='{"COLLECT_LOCAL_VARIABLES": "errors"}')
    assert any("vars" in frame for frame in received.errors[0]["exception"]["stacktrace"])


def test_options_of_the_agent_can_be_given():
    """By ELASTIC_APM_OTHER_OPTIONS, which win, and by its own ELASTIC_APM_SERVER_URL without MESH_CONFIG."""
    with intake() as received:
        options = '{"SERVICE_NAME": "mine", "ENVIRONMENT": "Tests"}'
        where = {"ELASTIC_APM_SERVER_URL": f"http://127.0.0.1:{received.port}"}
        run_task(TASK, ELASTIC_APM_ENABLED="true", ELASTIC_APM_OTHER_OPTIONS=options, **where)
    assert received.tree(received.transaction) == PHASES
    [metadata] = received.of_kind("metadata")
    assert (metadata["service"]["name"], metadata["service"]["environment"]) == ("mine", "Tests")


def test_ten_thousand_spans_are_five_hundred_and_a_number(validators):
    """The agent's limit for one transaction; what it drops is counted on the transaction."""
    done, received = record(MANY.format(count=10_000))
    assert_unchanged(done)
    # The three phases do not count: Post Run comes after the limit, and is recorded nevertheless.
    assert len(received.spans) == 503
    assert received.transaction["span_count"] == {"started": 503, "dropped": 10_003 - 503}
    assert {"Pre Run", "Run", "Post Run"} <= {span["name"] for span in received.spans}
    assert_valid(received, validators)
    assert "WARNING" not in done.stderr


def test_odd_labels_names_and_types_are_recorded_as_their_text(validators):
    """Whatever a task puts on a span, the span arrives, and the event is valid."""
    done, received = record(odd_task.TASK)
    assert_unchanged(done)
    assert_valid(received, validators)
    assert received.transaction["outcome"] == "success"
    tags = received.span("labels")["context"]["tags"]
    huge, elements = tags.pop("huge"), tags.pop("elements")
    assert (len(huge), huge[-3:], elements) == (1024, "...", "<list of 3000000 elements>")
    lists = {"list": "[1, 2]", "surrogates": str([r"a\udc80"])}
    assert tags == {**odd_task.LABELS, **lists, "nan": "nan", "infinite": "-inf", "dotted_name": 1}
    assert len(received.spans) == odd_task.SPANS
    assert "WARNING" not in done.stderr


DISABLED = "DKIST_APM_DISABLED_INSTRUMENTATIONS"
CALL = """
    import os
    from dkist_processing_core import TaskBase

    class Calibrate(TaskBase):
        def run(self):
            import {library}
            {call}
            print("done")
"""
CALLS = {
    "requests": 'requests.get(os.environ["URL"], timeout=5)',
    "urllib3": 'urllib3.PoolManager().request("GET", os.environ["URL"])',
}


@pytest.fixture(scope="module")
def website():
    """The address of a server that answers every request."""
    with http_server(lambda _: Response(body=b"ok")) as port:
        yield f"http://127.0.0.1:{port}/page"


@pytest.mark.parametrize(
    ("settings", "is_recorded"),
    [
        ({}, True),
        ({DISABLED: ""}, True),
        ({DISABLED: "redis, pymongo"}, True),
        ({DISABLED: "urllib3, Requests"}, False),
        ({DISABLED: "all"}, False),
        ({"SKIP_INSTRUMENT_URLLIB3": "", "SKIP_INSTRUMENT_REQUESTS": ""}, False),
        ({"ELASTIC_APM_INSTRUMENT": "false"}, False),
    ],
    ids=["default", "empty", "others", "this one", "all", "by the agent", "all by the agent"],
)
@pytest.mark.parametrize("library", ["requests", "urllib3"])
def test_calls_of_libraries_are_spans_unless_they_are_switched_off(library, settings, is_recorded, website):
    """By DKIST_APM_DISABLED_INSTRUMENTATIONS, or by the variables of the agent."""
    pytest.importorskip(library)
    done, received = record(CALL.format(library=library, call=CALLS[library]), URL=website, **settings)
    assert_unchanged(done)
    calls = [span for span in received.spans if span["type"] == "external"]
    assert [span["name"] for span in calls] == (["GET " + website.split("/")[2]] if is_recorded else [])
    assert {span["parent_id"] for span in calls} <= {received.span("Run")["id"]}


@pytest.mark.parametrize(
    ("disabled", "is_instrumented"),
    [(None, False), ("", True), ("urllib3", True), ("all", False)],
    ids=["default", "empty", "others", "all"],
)
def test_redis_is_not_instrumented_unless_it_is_asked_for(disabled, is_instrumented):
    """It floods; by the state that the agent keeps of each library."""
    setting = {} if disabled is None else {DISABLED: disabled}
    done, _ = record(
        """
        from dkist_processing_core import TaskBase

        class Calibrate(TaskBase):
            def run(self):
                from elasticapm.instrumentation import register
                print({
                    each.instrumented
                    for each in register.get_instrumentation_objects()
                    if "redis" in type(each).__module__
                })
        """,
        **setting,
    )
    assert done.stdout == f"{{{is_instrumented}}}\n"


def test_a_trace_that_is_not_sampled_is_not_recorded():
    """By the decision of its beginning; the spans work for the task all the same."""
    done, received = record(TRACEPARENT=f"00-{'a' * 32}-{'b' * 16}-00")
    assert_unchanged(done)
    assert received.spans == []


def test_the_internals_that_this_library_relies_on_are_those_of_the_agent():
    """Those names that elastic/agent.py uses and no other test would miss, such as that of the queue."""
    run_python(
        """
        import threading
        from elasticapm import base
        from dkist_processing_core.telemetry.elastic import agent

        assert "CLIENT_SINGLETON" in vars(base)
        transport = f"{agent.__name__}.BoundedTransport"
        client = agent.new_client({"SERVICE_NAME": "s", "TRANSPORT_CLASS": transport, "TRANSACTION_MAX_SPANS": 1})
        assert type(client._transport) is agent.BoundedTransport
        queue, thread = client._transport._event_queue, client._transport._thread
        assert isinstance(thread, threading.Thread) and isinstance(client._transport._flushed, threading.Event)
        client._transport.handle_fork()
        assert client._transport._event_queue is not queue and type(client._transport._event_queue) is type(queue)

        transaction = agent.begin_transaction(client, None, None)
        assert agent.is_recorded(transaction.begin_span("first", "code"))
        assert not agent.is_recorded(transaction.begin_span("second", "code"))
        """,
        ELASTIC_APM_DISABLE_SEND="true",
    ).check(stderr="")
