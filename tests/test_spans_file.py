"""The spans of a task are a file, without any server (DKIST_SPANS_FILE)."""

import gc
import json
import logging
import math
import os
import weakref

import pytest
from support.command_line import run_python

from dkist_processing_core import TaskBase, telemetry, testing
from dkist_processing_core.telemetry.memory import file as spans_file
from dkist_processing_core.telemetry.memory import spans as in_memory


class Task(TaskBase):
    """A task whose work is handed to it."""

    work = None

    def run(self):
        self.work(self)


def run(work):
    """Run the task."""
    with Task(7, "l0_to_l1_cam", "1.0") as task:
        task.work = work
        task()


@pytest.fixture
def spans(tmp_path, monkeypatch):
    """Let spans be written, and return a function that reads them."""
    file = tmp_path / "spans.json"
    monkeypatch.setenv("DKIST_SPANS_FILE", str(file))

    def read(name=None):
        data = json.loads(file.read_text(), parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
        return next(each for each in data["spans"] if each["name"] == name) if name else data

    return read


def test_a_span_is_written_with_its_place_in_the_tree(spans):
    """Name, type, attributes, start, time, parent and error; the phases are spans as well."""

    def work(task):
        with task.apm_step("read", span_type="storage.fits.read", labels={"frames": 3}) as span:
            span.set_attribute("bytes", 12)
            with task.telemetry_span("chunk"):
                pass
        with task.tracer.start_as_current_span("traced", attributes={"by": "tracer"}):
            pass

    run(work)
    data = spans()
    assert [(each["name"], each["parent"]) for each in data["spans"]] == [
        ("Pre Run", None),
        ("Run", None),
        ("read", 1),
        ("chunk", 2),
        ("traced", 1),
        ("Post Run", None),
    ]
    read = spans("read")
    assert (read["type"], read["attributes"], read["error"]) == ("storage.fits.read", {"frames": 3, "bytes": 12}, None)
    assert 0 <= read["start"] <= spans("chunk")["start"]
    assert read["seconds"] >= spans("chunk")["seconds"] >= 0
    assert spans("traced")["attributes"] == {"by": "tracer"}
    task = data["task"]
    assert (task["name"], task["recipe_run_id"], task["error"]) == ("Task", 7, None)
    assert task["seconds"] >= read["seconds"]
    assert (data["schema_version"], data["spans_left_out"]) == (1, 0)


def test_an_error_is_written_and_stays_that_of_the_task(spans):
    """In each span that it left, and of the task."""

    def work(task):
        with task.apm_step("solve"):
            raise ValueError("no flat")

    with pytest.raises(ValueError, match="no flat"):
        run(work)
    assert [spans(name)["error"] for name in ("solve", "Run")] == ["ValueError: no flat"] * 2
    assert spans()["task"]["error"] == "ValueError: no flat"


def test_no_secret_is_written(spans, tmp_path, monkeypatch):
    """Neither a password in an address, nor what is secret by its name."""
    monkeypatch.setenv("ARCHIVE", "http://me:secret99@archive")

    def work(task):
        with task.apm_step("http://me:secret99@archive", labels={"api_key": "secret99", "tokens": 3}) as span:
            span.add_event("amqp://me:secret99@host", {"url": ["http://me:secret99@archive"]})
            raise ValueError("secret99 was refused")

    with pytest.raises(ValueError, match="refused"):
        run(work)
    text = (tmp_path / "spans.json").read_text()
    assert "secret99" not in text
    assert spans()["spans"][2]["attributes"] == {"api_key": "<redacted>", "tokens": 3}


def test_nothing_that_a_task_records_makes_it_fail(spans, caplog):
    """It is a warning."""

    class Odd:
        def __str__(self):
            raise RuntimeError("no text")

    def work(task):
        with task.apm_step(Odd(), labels={"inf": math.inf, "surrogate": "\ud800", "odd": Odd()}) as span:
            span.set_attributes(7)
            span.add_event(Odd(), 7)
            span.record_exception(ValueError("seen"))
            span.set_status("ERROR")
            span.update_name("odd")
        with task.apm_step("bad", labels=7):
            pass
        task.tracer.start_span("left open")

    run(work)
    odd = spans("odd")
    assert odd["attributes"]["inf"] == "inf"
    assert odd["events"][-1] == ["exception", {"exception": "ValueError: seen"}]
    assert spans("left open")["seconds"] is None
    assert "A span could not be recorded completely" in caplog.text


def test_a_file_that_cannot_be_written_is_a_warning(monkeypatch, tmp_path, caplog):
    """And nothing is left of it."""
    (tmp_path / "taken" / "here").mkdir(parents=True)
    monkeypatch.setenv("DKIST_SPANS_FILE", str(tmp_path / "taken"))
    run(lambda _: None)
    [record] = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert str(tmp_path / "taken") in record.getMessage()
    assert [each.name for each in tmp_path.iterdir()] == ["taken"]


def test_memory_is_bounded(spans, monkeypatch):
    """The first spans are written, and how many are missing; exceptions and their frames are not kept."""
    monkeypatch.setattr(spans_file, "MOST_SPANS", 10)
    monkeypatch.setattr(spans_file, "MOST_EVENTS", 3)
    kept = []

    class Frame:
        pass

    def fail():
        frame = Frame()
        kept.append(weakref.ref(frame))
        raise ValueError

    def work(task):
        try:
            with task.apm_step("first") as span:
                for _ in range(5):
                    span.add_event("event")
                fail()
        except ValueError:
            pass
        gc.collect()
        assert kept[0]() is None
        for _ in range(20):
            with task.apm_step("one of many"):
                pass

    run(work)
    assert len(spans()["spans"]) == 10
    assert spans()["spans_left_out"] == 14  # Post Run is one of them
    assert len(spans("first")["events"]) == 3


def test_a_task_inside_of_another_one_does_not_take_its_file(spans):
    """The outer one ends last."""

    def work(task):
        with task.apm_step("outer"):
            run(lambda inner: inner.apm_step("inner"))

    run(work)
    assert [each["name"] for each in spans()["spans"]] == ["Pre Run", "Run", "outer", "Post Run"]


def test_it_is_no_server_that_could_be_asked(spans, monkeypatch):
    """A task has no ids of a trace because of the file, and its children continue none."""
    monkeypatch.delenv("TRACEPARENT", raising=False)
    seen = []
    run(lambda _: seen.append(os.environ.get("TRACEPARENT")))
    assert (seen, telemetry.last_ids()) == ([None], None)


def test_a_recording_in_a_test_takes_precedence(spans, tmp_path):
    """Whatever the variables are, as of the other back ends; both share their code."""
    with testing.recorded() as recorded:
        run(lambda task: task.tracer.start_span("seen"))
    assert "seen" in recorded.tree()
    assert not (tmp_path / "spans.json").exists()
    assert testing.RecordedSpan is in_memory.RecordedSpan


def test_off_it_costs_no_import():
    """A task without the variable loads nothing of it."""
    program = (
        "import sys\nfrom dkist_processing_core import TaskBase\n"
        "class A(TaskBase):\n    def run(self):\n        with self.apm_step('a'): pass\n"
        "with A(1, 'w', '1') as task: task()\n"
        "print([each for each in sys.modules if 'telemetry.memory' in each])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "DKIST_SPANS_FILE"}
    run_python(program, env=environment).check(stdout="[]\n")
