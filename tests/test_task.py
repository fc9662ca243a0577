"""The class that a team subclasses."""

import contextlib
import logging
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dkist_processing_core import TaskBase, telemetry
from dkist_processing_core.exceptions import RecipeRunIdError
from dkist_processing_core.telemetry.null import NullBackend


class Recorder(TaskBase):
    """A task that writes down what happens to it."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.events = []

    def pre_run(self):
        self.events.append("pre_run")

    def run(self):
        with self.apm_step("step", span_type="code.x", labels={"a": 1}) as span:
            span.set_attribute("b", 2)
            span.set_attributes({"c": 3})
        with self.telemetry_span("span", attributes={"a": 1}) as span:
            span.set_attribute("b", 2)
        self.events.append("run")

    def post_run(self):
        self.events.append("post_run")

    def __exit__(self, *error):
        self.events.append("exit")
        super().__exit__(*error)


class Failing(Recorder):
    def run(self):
        raise ValueError("no")


SPANS = """\
Recorder (w v, recipe run 1)
  Pre Run
  Run
    step [a=1, b=2, c=3]
    span [a=1, b=2]
  Post Run"""


def test_each_phase_has_a_span_and_what_the_task_opens_lies_in_it(recorded):
    """Types and labels are those of the contract."""
    with Recorder(recipe_run_id=1, workflow_name="w", workflow_version="v") as task:
        task()
    assert task.events == ["pre_run", "run", "post_run", "exit"]
    assert recorded.tree() == SPANS
    assert [(span.type, span.attributes) for span in recorded.spans if span.parent is None] == [
        ("code.core", {"type": "core"})
    ] * 3
    assert [span.type for span in recorded.spans if span.parent] == ["code.x", "code.custom"]


def test_a_task_runs_without_a_with_statement(recorded):
    """Calling it is enough; it is recorded all the same, and each call for itself."""
    task = Recorder(1, "w", "v")
    task()
    task()
    assert task.events == ["pre_run", "run", "post_run"] * 2
    assert recorded.tree() == f"{SPANS}\n{SPANS}"
    assert [each.is_ended for each in recorded.tasks] == [True, True]


def test_what_a_phase_raises_comes_through(recorded):
    """The phases after it do not run, the teardown does."""
    with pytest.raises(ValueError, match="^no$") as caught, Failing(1, "w", "v") as task:
        task()
    assert task.events == ["pre_run", "exit"]
    assert recorded.tree() == "Failing (w v, recipe run 1): ValueError: no\n  Pre Run\n  Run: ValueError: no"
    assert recorded.tasks[0].error is caught.value
    with pytest.raises(ValueError, match="^no$"):
        Failing(1, "w", "v")()
    assert (str(recorded.tasks[1].error), recorded.tasks[1].is_ended) == ("no", True)


def test_each_run_of_a_task_is_counted(recorded):
    """Also one that fails; with the attributes that a team's own metrics can have."""
    task = Recorder(1, "w", "v")
    task()
    with pytest.raises(ValueError), Failing(2, "w", "v") as failing:
        failing()
    counted = recorded.metrics["dkist.processing.tasks.executed"]
    assert (counted.kind, counted.unit) == ("counter", "1")
    assert [each.value for each in counted.measurements] == [1, 1]
    assert [each.attributes for each in counted.measurements] == [
        task.base_telemetry_attributes,
        failing.base_telemetry_attributes,
    ]


def test_a_task_knows_who_it_is():
    """Attributes and text form are those of the contract."""
    task = Recorder("7", "w", "v")
    assert (task.recipe_run_id, task.workflow_name, task.workflow_version, task.task_name) == (7, "w", "v", "Recorder")
    assert (task.retries, task.retry_delay_seconds) == (0, 60)
    assert repr(task) == str(task) == "Recorder(recipe_run_id=7, workflow_name='w', workflow_version='v')"


def test_run_must_be_written():
    """A subclass without run cannot be used."""
    with pytest.raises(TypeError, match="abstract"):
        type("Nothing", (TaskBase,), {})(1, "w", "v")


def test_rollback_does_nothing_by_default():
    """It may be overridden."""
    assert Recorder(1, "w", "v").rollback() is None


@pytest.mark.parametrize(
    "value",
    ["", "x", "1.5", "1); import os", None, 1.5, float("nan"), float("inf"), True, [1]],
    ids=["empty", "word", "fraction", "code", "none", "float", "nan", "inf", "bool", "list"],
)
def test_a_recipe_run_id_that_is_no_integer_is_refused(value):
    """The error is a ValueError that shows the value and says how to give a good one."""
    with pytest.raises(ValueError, match="recipe_run_id must be an integer, not") as caught:
        Recorder(value, "w", "v")
    assert isinstance(caught.value, RecipeRunIdError)
    assert repr(value) in str(caught.value)
    assert "DKIST_RECIPE_RUN_ID=<integer>" in str(caught.value)


@given(st.integers())
def test_any_integer_is_taken_in_any_form(number):
    """As a number or as its text, it is the same id."""
    assert Recorder(number, "w", "v").recipe_run_id == Recorder(str(number), "w", "v").recipe_run_id == number


def test_the_life_of_a_task_is_logged(caplog):
    """Initialised, started, complete, under the library's logger."""
    with caplog.at_level(logging.INFO), Recorder(1, "w", "v") as task:
        task()
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        ("dkist_processing_core.task", "Task Recorder initialized"),
        ("dkist_processing_core.task", "Task Recorder started"),
        ("dkist_processing_core.task", "Task Recorder complete"),
    ]


@pytest.fixture
def events(monkeypatch):
    """
    The calls of the listeners of a task, in order.

    The log on the bus and the back end are stand-ins: what counts here is when they are called.
    """
    events = []

    class Log:
        def __init__(self, metadata):
            events.append(f"log of {metadata.task_name} begins")

        def started(self):
            events.append("started")

        @contextlib.contextmanager
        def phase(self, name):
            events.append(f"{name} begins")
            yield
            events.append(f"{name} ends")

        def close(self, error):
            events.append(f"log ends: {error!r}")

    class Backend(NullBackend):
        def span(self, name, *arguments):
            events.append(f"span {name}")
            return super().span(name, *arguments)

        def end(self, error):
            events.append(f"telemetry ends: {error!r}")

    monkeypatch.setenv("DKIST_ISB_LOGGING", "true")
    monkeypatch.setitem(sys.modules, "dkist_processing_core.isb.logs.task_log", SimpleNamespace(TaskLog=Log))
    monkeypatch.setattr(telemetry, "_start_backends", lambda _: events.append("telemetry begins") or [Backend()])
    return events


def test_the_log_begins_first_and_is_closed_last(events):
    """So what telemetry logs when it begins or ends is forwarded; a span lies within its phase."""
    with contextlib.suppress(ValueError), Failing(1, "w", "v") as task:
        task()
    assert events == [
        "log of Failing begins",
        "telemetry begins",
        "started",
        "Pre Run begins",
        "span Pre Run",
        "Pre Run ends",
        "Run begins",
        "span Run",
        "telemetry ends: ValueError('no')",
        "log ends: ValueError('no')",
    ]


def test_a_task_that_is_made_and_never_entered_begins_no_log(events):
    """Its metrics begin telemetry, whose record is closed with the task that is run."""
    task = Recorder(1, "w", "v")
    assert task.meter.name == "dkist"
    assert events == ["telemetry begins"]
    task()
    assert events[:3] == ["telemetry begins", "log of Recorder begins", "started"]
    assert events[-2:] == ["telemetry ends: None", "log ends: None"]


def test_a_log_that_cannot_begin_is_a_warning(monkeypatch, caplog):
    """And the task runs."""
    monkeypatch.setenv("DKIST_ISB_LOGGING", "true")
    monkeypatch.setitem(sys.modules, "dkist_processing_core.isb.logs.task_log", None)
    with Recorder(1, "w", "v") as task:
        task()
    assert task.events == ["pre_run", "run", "post_run", "exit"]
    [warning] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith("DKIST_ISB_LOGGING is set, but the log cannot be sent to the interservice bus: ")


def test_records_beside_an_event_are_marked(caplog):
    """So that a listener that is called at the event itself need not forward them."""
    with caplog.at_level(logging.INFO), Recorder(1, "w", "v") as task:
        task()
    assert [hasattr(record, "dkist_listened") for record in caplog.records] == [False, True, True]
