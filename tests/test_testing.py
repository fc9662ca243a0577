"""The test mode for packages of tasks."""

import asyncio
import contextlib
import logging
import os
import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.apm import intake
from support.command_line import run_command
from support.releases import REPOSITORY

import dkist_processing_core
from dkist_processing_core import TaskBase, failure_callback, telemetry, testing
from dkist_processing_core.common import test_mode
from dkist_processing_core.failure_callback import (
    RecipeRunFailureMessage,
    chat_ops_notification,
)
from dkist_processing_core.isb import spool
from dkist_processing_core.isb.envelope import Envelope
from dkist_processing_core.isb.failures import context as of_context
from dkist_processing_core.isb.publisher import PublishError, deliver, publish


class Calibrate(TaskBase):
    """A task whose work is handed to it."""

    work = None

    def pre_run(self):
        with self.apm_step("read", span_type="storage.fits.read", labels={"frames": 3}) as span:
            span.set_attribute("bytes", 12)

    def run(self):
        if self.work:
            self.work(self)


def calibrate(work=None):
    """Run the task and return it."""
    with Calibrate(7, "l0_to_l1_cam", "1.0") as task:
        task.work = work
        task()
    return task


def fail(task):
    with task.telemetry_span("outer", attributes={"a": 1}), task.apm_step("inner"):
        raise RuntimeError("no flat")


def everything_that_is_replaced():
    return [test_mode.active(), telemetry.last_ids(), dict(os.environ), spool.spool_folder()]


def test_the_tree_of_a_task_is_recorded(recorded):
    """Phases, spans in them, their attributes."""
    calibrate(lambda task: task.apm_step("empty").__enter__())
    assert recorded.tree() == (
        "Calibrate (l0_to_l1_cam 1.0, recipe run 7)\n"
        "  Pre Run\n"
        "    read [frames=3, bytes=12]\n"
        "  Run\n"
        "    empty: not ended\n"
        "  Post Run"
    )
    [task] = recorded.tasks
    facts = task.name, task.workflow_name, task.workflow_version, task.recipe_run_id
    assert facts == ("Calibrate", "l0_to_l1_cam", "1.0", 7)
    assert task.attributes.items() >= {"recipe.run.id": 7, "task.name": "Calibrate"}.items()
    assert (task.error, task.is_ended) == (None, True)
    assert recorded.spans == task.spans
    pre_run, read, run, *_ = task.spans
    assert (read.name, read.type, read.attributes) == ("read", "storage.fits.read", {"frames": 3, "bytes": 12})
    assert (read.parent, pre_run.parent, pre_run.children) == (pre_run, None, [read])
    assert (pre_run.type, run.is_ended, run.children[0].is_ended) == ("code.core", True, False)
    assert read.seconds <= pre_run.seconds
    assert repr(read) == "<RecordedSpan read [frames=3, bytes=12]>"


def test_a_failure_is_recorded_where_it_passes():
    """On each span that it leaves, and on the task; what comes after does not begin."""
    with testing.recorded() as recorded, pytest.raises(RuntimeError, match="^no flat$") as caught:
        calibrate(fail)
    assert recorded.tree().splitlines()[3:] == [
        "  Run: RuntimeError: no flat",
        "    outer [a=1]: RuntimeError: no flat",
        "      inner: RuntimeError: no flat",
    ]
    assert recorded.tasks[0].error is recorded.spans[-1].error is caught.value


def test_a_task_that_was_never_ended_says_so():
    """A with statement that was not left."""
    with testing.recorded() as recorded:
        Calibrate(1, "w", "v").__enter__().apm_step("a").__enter__()
        assert os.environ["TRACEPARENT"] == recorded.tasks[0].ids.traceparent
    assert recorded.tree() == "Calibrate (w v, recipe run 1): not ended\n  a: not ended"
    assert "TRACEPARENT" not in os.environ


def test_odd_attributes_are_recorded_as_back_ends_take_them(recorded):
    """What is no text, number or boolean, nor a list of these, is its text."""
    odd = {"path": Path("x"), 4: 5.5, "no": None, "list": ["a"], "set": {1}}
    calibrate(lambda task: task.apm_step("odd", labels=odd).__enter__())
    assert recorded.tasks[0].spans[3].attributes == {"path": "x", "4": 5.5, "list": ["a"], "set": "{1}"}


def test_a_span_has_the_methods_of_opentelemetry(recorded):
    """Events, exceptions, status, another name."""
    error = ValueError("x")

    def work(task):
        with task.telemetry_span("before", kind="client", links=()) as span:
            span.add_event("saw", {"n": 1})
            span.record_exception(error)
            span.set_status("OK")
            span.update_name("after")
            assert span.is_recording()
        assert not span.is_recording()

    calibrate(work)
    span = recorded.spans[3]
    assert (span.name, span.events, span.exceptions, span.status) == ("after", [("saw", {"n": 1})], [error], "OK")
    assert (span.error, span.parent.name) == (None, "Run")


def test_the_tracer_records_as_well(recorded):
    """A span of start_span is not the parent of others; it ends by ``end`` or with its with statement."""

    def work(task):
        with task.tracer.start_as_current_span("current", attributes={"a": 1}):
            single = task.tracer.start_span("single", attributes={"b": 2})
            with task.apm_step("inner"):
                pass
            single.end()
            with contextlib.suppress(KeyError), task.tracer.start_span("failing"):
                raise KeyError

    calibrate(work)
    assert recorded.tree().splitlines()[3:-1] == [
        "  Run",
        "    current [a=1]",
        "      single [b=2]",
        "      inner",
        "      failing: KeyError",
    ]


def test_spans_of_two_tasks_are_not_mixed_up(recorded):
    """A task inside another, and spans of the outer one inside those of the inner one."""

    def work(outer):
        inner = Calibrate(8, "l0_to_l1_cam", "1.0")
        with outer.apm_step("a"), inner, inner.apm_step("b"), outer.apm_step("c"), inner.apm_step("d"):
            pass

    calibrate(work)
    outer, inner = recorded.tasks
    assert outer.tree().splitlines()[3:6] == ["  Run", "    a", "      c"]
    assert inner.tree().splitlines()[1:] == ["  b", "    d"]


def test_spans_in_threads_belong_to_their_task(recorded):
    """Tasks in threads of their own, and a thread that a task starts."""

    def work(task):
        def in_thread():
            with task.apm_step("thread"), task.apm_step("inside"):
                pass

        with task.apm_step("waits"):
            thread = threading.Thread(target=in_thread)
            thread.start()
            thread.join()

    threads = [threading.Thread(target=calibrate, args=(work,)) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    [tree] = {task.tree() for task in recorded.tasks}
    assert tree.splitlines()[3:] == ["  Run", "    waits", "  thread", "    inside", "  Post Run"]
    assert len(recorded.tasks) == 8


def test_spans_in_coroutines_have_the_right_parents(recorded):
    """Each coroutine has its own."""

    async def step(task, name):
        with task.apm_step(name):
            await asyncio.sleep(0)
            with task.apm_step(f"in {name}"):
                await asyncio.sleep(0)

    async def both(task):
        await asyncio.gather(step(task, "x"), step(task, "y"))

    calibrate(lambda task: asyncio.run(both(task)))
    parents = {span.name: span.parent.name for span in recorded.spans if span.name[-1] in "xy"}
    assert parents == {"x": "Run", "y": "Run", "in x": "x", "in y": "y"}


def test_a_generator_that_is_closed_is_no_error(recorded):
    """Closing is how a generator ends that is not exhausted."""

    def work(task):
        def numbers():
            with task.apm_step("numbers"):
                yield from (1, 2)

        next(generator := numbers())
        generator.close()

    calibrate(work)
    assert (recorded.spans[3].name, recorded.spans[3].error, recorded.spans[3].is_ended) == ("numbers", None, True)


def test_metrics_are_recorded(recorded):
    """The values of counters, histograms and gauges from all tasks, by name."""

    def work(task):
        counter = task.meter.create_counter(task.format_metric_name("frames"), unit="1", description="Frames.")
        counter.add(3, {"camera": "blue"})
        counter.add(2)
        task.meter.create_up_down_counter("level").add(-1)
        task.meter.create_histogram("sizes", unit="By").record(4.5)
        task.meter.create_gauge("temperature").set(20)

    calibrate(work)
    calibrate(work)
    frames = recorded.metrics["dkist.processing.frames"]
    assert (frames.kind, frames.unit, frames.description, frames.total) == ("counter", "1", "Frames.", 10)
    assert frames.measurements[:2] == [testing.Measurement(3, {"camera": "blue"}), testing.Measurement(2)]
    assert {name: (each.kind, each.total) for name, each in recorded.metrics.items()} == {
        "dkist.processing.tasks.executed": ("counter", 2),
        "dkist.processing.frames": ("counter", 10),
        "level": ("up_down_counter", -2),
        "sizes": ("histogram", 9.0),
        "temperature": ("gauge", 40),
    }


def test_observable_metrics_are_observed_at_each_access(recorded):
    """Functions and generators, as OpenTelemetry takes them."""
    seen = [1]

    def function(options):
        assert options.timeout_millis > 0
        return [SimpleNamespace(value=len(seen), attributes={"a": 1})]

    def generator():
        yield  # which OpenTelemetry runs up to before it asks
        yield [SimpleNamespace(value=10, attributes=None)]

    def work(task):
        task.meter.create_observable_gauge("gauge", [function, generator()])
        task.meter.create_observable_counter("counter", callbacks=[function])
        task.meter.create_observable_up_down_counter("updown")

    calibrate(work)
    assert recorded.metrics["gauge"].measurements == [testing.Measurement(1, {"a": 1}), testing.Measurement(10)]
    seen.append(2)
    assert recorded.metrics["gauge"].total == 2
    assert (recorded.metrics["counter"].kind, recorded.metrics["counter"].total) == ("observable_counter", 2)
    assert recorded.metrics["updown"].measurements == []


def new_envelope(**changes):
    facts = {"routing_key": "other.m", "queue": "other.q", "body": "{}", "message_id": "f" * 32}
    return Envelope(**(facts | changes))


def test_messages_are_recorded_and_not_sent():
    """Those of callbacks, of publish and of deliver, in order; nothing is spooled, and no broker is needed."""
    confirmed = []
    with testing.recorded() as recorded:
        message = chat_ops_notification({"run_id": "manual__1"}, "w", "1", "Task")
        publish(new_envelope())
        assert deliver([new_envelope(body="1"), new_envelope(body="2")], on_confirmed=confirmed.append) == {}
        with failure_callback.recipe_run_failure_message_producer_factory() as producer:
            producer.publish(message)
    assert [each.queue for each in recorded.messages] == ["recipe.run.failure.q", *["other.q"] * 3, message.queue]
    assert confirmed == [0, 1]
    assert recorded.spooled == []
    first, _ = recorded.failures
    assert isinstance(first, RecipeRunFailureMessage)
    assert (first.body, first.message_id, first.timestamp) == (message.body, message.message_id, message.timestamp)
    assert list(spool.pending()) == []
    assert not spool.spool_folder().exists()


def test_what_the_callback_of_a_run_sends_is_recorded(recorded, monkeypatch):
    """Airflow 3.0 does not report which task has failed, so one message reports the run."""
    monkeypatch.setattr(of_context, "airflow_version", lambda: (3, 0))
    context = {"run_id": "manual__1", "dag": SimpleNamespace(dag_id="w_1"), "dag_run": SimpleNamespace(dag_id="w_1")}
    sent = failure_callback.dag_run_failure_notification(context, "w", "1")
    assert [each.message_id for each in recorded.failures] == [each.message_id for each in sent]
    assert sent


@pytest.mark.parametrize(
    "error", ["down", OSError("down"), PublishError("down", retryable=False)], ids=["text", "any", "publish"]
)
def test_the_bus_may_fail(error, caplog):
    """The message is spooled in a folder of the recording, and sent after the next one that is published."""
    caplog.set_level(logging.INFO)
    with testing.recorded(bus_error=error) as recorded:
        message = chat_ops_notification({"run_id": "manual__1"}, "w", "1", "Task")
        [spooled] = recorded.spooled
        assert (spooled.message_id, recorded.messages) == (message.message_id, [])
        assert spool.spool_folder().is_relative_to(tempfile.gettempdir())
        recorded.bus_error = None
        second, third = (chat_ops_notification({"run_id": each}, "w", "1", "Task") for each in ("second", "third"))
    expected = [each.message_id for each in (second, message, third)]
    assert [each.message_id for each in recorded.messages] == expected
    assert recorded.spooled == []
    assert "down" in caplog.text
    assert [each for each in caplog.messages if "pending" in each] == ["1 pending messages were sent, 0 remain"]


def test_spooled_messages_can_be_read_after_the_recording():
    """And the folder is gone; the next recording reports the same failure again."""
    with testing.recorded(bus_error="down") as recorded:
        chat_ops_notification({"run_id": "manual__1"}, "w", "1", "Task")
        folder = spool.spool_folder()
        with pytest.raises(PublishError, match="^down$"):
            publish(new_envelope())
    assert [each.type for each in recorded.spooled] == ["recipe.run.failure"]
    assert not folder.exists()
    for _ in range(2):
        with testing.recorded() as recorded:
            chat_ops_notification({"run_id": "manual__1"}, "w", "1", "Task")
        assert len(recorded.failures) == 1


@pytest.mark.parametrize("traceparent", [None, f"00-{'ab' * 16}-{'cd' * 8}-01"], ids=["none", "traceparent"])
def test_nothing_is_left_behind(monkeypatch, traceparent):
    """Not even by a task that does not end, a span that stays open, an exception, or a recording inside another."""
    if traceparent:
        monkeypatch.setenv("TRACEPARENT", traceparent)
    before = everything_that_is_replaced()
    with contextlib.suppress(KeyError), testing.recorded() as outer:
        meanwhile = everything_that_is_replaced()
        with testing.recorded() as inner:
            task = Calibrate(1, "w", "v").__enter__()
            task.apm_step("open").__enter__()
            assert os.environ["TRACEPARENT"] != traceparent
        assert everything_that_is_replaced() == meanwhile
        calibrate()
        raise KeyError
    assert everything_that_is_replaced() == before
    assert [[each.recipe_run_id for each in recorded.tasks] for recorded in (inner, outer)] == [[1], [7]]
    if traceparent:
        assert outer.tasks[0].ids.trace_id == "ab" * 16


def test_a_task_after_a_recording_is_not_recorded():
    """It ends with the with statement, also for a task object that was made before."""
    task = Calibrate(1, "w", "v")
    with testing.recorded() as recorded:
        task()
    task()
    assert len(recorded.tasks) == 1


def test_what_is_configured_does_not_count(monkeypatch, tmp_path):
    """Nothing is sent to Elastic APM, to OpenTelemetry, or to the interservice bus."""
    with intake() as received:
        monkeypatch.setenv("ELASTIC_APM_ENABLED", "true")
        monkeypatch.setenv("MESH_CONFIG", received.mesh_config)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{received.port}")
        monkeypatch.setenv("DKIST_ISB_LOGGING", "true")
        monkeypatch.setenv("DKIST_ISB_SPOOL", str(tmp_path / "spool"))
        calls, standard_call = [], logging.Logger.callHandlers
        with testing.recorded() as recorded:
            calibrate(lambda _: calls.append(logging.Logger.callHandlers is standard_call))
            chat_ops_notification({}, "w", "1", "Task")
    assert (len(recorded.tasks), calls) == (1, [True])
    assert (received.events, received.paths) == ([], [])
    assert not (tmp_path / "spool").exists()


def test_it_needs_neither_pytest_nor_anything_heavy():
    """A program of its own; what it imports is the standard library and this one."""
    # Without site, so that what the environment loads at the start of each Python does not count.
    program = (
        f"import sys\nsys.path.append({str(Path(dkist_processing_core.__file__).parents[1])!r})\n"
        "from dkist_processing_core import TaskBase, testing\n"
        "class Task(TaskBase):\n"
        "    def run(self): pass\n"
        "with testing.recorded() as recorded: Task(1, 'w', 'v')()\n"
        "print(recorded.tree().splitlines()[0])\n"
        "new = {name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        "print(sorted(name for name in new if not name.startswith(('_', 'sitecustomize'))))"
    )
    done = run_command(sys.executable, "-I", "-S", "-c", program).check()
    assert done.stdout.splitlines() == ["Task (w v, recipe run 1)", "['dkist_processing_core']"]


def test_the_example_in_the_documentation_works(tmp_path):
    """The tests of the tutorial's package pass."""
    tutorial = REPOSITORY / "docs" / "examples" / "dkist-processing-tutorial"
    command = [sys.executable, *["-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null"], tutorial / "tests"]
    run_command(*command, cwd=tmp_path, PYTHONPATH=str(tutorial), PYTHONDONTWRITEBYTECODE="1").check("3 passed")
