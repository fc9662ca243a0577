"""What the callback of a DAG reports, by what each version of Airflow tells it (stand-ins for Airflow's objects)."""

import contextlib
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from dkist_processing_core.failure_callback import chat_ops_notification, dag_run_failure_notification
from dkist_processing_core.isb.failures import context as of_context

RUN = SimpleNamespace(conf={"recipe_run_id": 42}, start_date=datetime(2026, 1, 1, tzinfo=UTC), run_id="r")


class Instance:
    """What Airflow's object for a task tells in the DAG processor."""

    dag_id, run_id, map_index, hostname = "w_1", "r", -1, "worker-7"

    def __init__(self, task_id="A", try_number=1, states=None, xcoms=None):
        self.task_id = task_id
        self.try_number = try_number
        self.log_url = f"http://airflow/dags/w_1/runs/r/tasks/{task_id}?try_number={try_number}"
        self._states = states
        self._xcoms = {} if xcoms is None else xcoms

    def get_task_states(self, dag_id, run_ids):
        if self._states is None:
            raise NotImplementedError("this Airflow does not tell")
        return {run_ids[0]: self._states}

    def xcom_push(self, key, value):
        self._xcoms[self.task_id] = value

    def xcom_pull(self, task_ids, key, map_indexes, run_id):
        return self._xcoms.get(task_ids)


@pytest.fixture
def airflow(monkeypatch):
    """Set the version of Airflow that calls back."""

    def version(*numbers):
        monkeypatch.setattr(of_context, "airflow_version", lambda: numbers)

    return version


@pytest.fixture
def published():
    """A producer factory that takes every message, and the messages that it took."""
    messages = []

    @contextlib.contextmanager
    def factory():
        yield SimpleNamespace(publish=messages.append)

    factory.messages = messages
    return factory


def new_context(instance, **more):
    return {"run_id": "r", "dag_run": RUN, "task_instance": instance, **more}


def report_task(instance, published):
    chat_ops_notification(new_context(instance, exception="boom"), "w", "1", instance.task_id, published)


def report_run(instance, published):
    return [each.body for each in dag_run_failure_notification(new_context(instance), "w", "1", published)]


def elsewhere(monkeypatch, tmp_path):
    monkeypatch.setenv("DKIST_ISB_SPOOL", str(tmp_path / "another machine"))


def test_airflow_2_calls_back_for_the_task_itself(airflow, published):
    """There is nothing to do for the run."""
    airflow(2, 11)
    assert report_run(Instance(states={"A": "failed"}), published) == []


def test_each_failed_task_that_said_nothing_is_reported(airflow, published):
    """With the try where Airflow tells it, and with the address of the log of each."""
    airflow(3, 3)
    instance = Instance(states={"A": "failed", "B": "failed", "C": "upstream_failed", "D": "success"}, try_number=2)
    first, second = report_run(instance, published)
    assert (first.taskName, first.tryNumber, first.recipeRunId) == ("A", 2, 42)
    assert (second.taskName, second.tryNumber) == ("B", None)
    assert first.logUrl == "http://airflow/dags/w_1/runs/r/tasks/A?try_number=2"
    assert second.logUrl == "http://airflow/dags/w_1/runs/r/tasks/B"
    assert "was killed" in first.error


@pytest.mark.parametrize("is_elsewhere", [False, True], ids=["shared-spool", "other-machine"])
def test_what_a_task_has_reported_is_not_reported_again(airflow, published, monkeypatch, tmp_path, is_elsewhere):
    """It is known by an XCom of the task, and by a file where the spool folder is shared."""
    airflow(3, 3)
    xcoms = {}
    states = {"A": "failed", "B": "failed"}
    report_task(Instance("A", xcoms=xcoms), published)
    report_task(Instance("B", xcoms=xcoms), published)
    if is_elsewhere:
        elsewhere(monkeypatch, tmp_path)
    assert report_run(Instance("A", states=states, xcoms=xcoms), published) == []


def test_another_try_of_a_reported_task_is_reported(airflow, published):
    """Somebody has cleared the task, and then it was killed; the old XCom says nothing about that."""
    airflow(3, 3)
    xcoms = {}
    report_task(Instance("A", try_number=1, xcoms=xcoms), published)
    [body] = report_run(Instance("A", try_number=2, states={"A": "failed"}, xcoms=xcoms), published)
    assert body.tryNumber == 2


def test_a_message_that_could_neither_be_sent_nor_kept_is_tried_again(airflow, published, monkeypatch, tmp_path):
    """It stands in the log of the task alone, so the run reports the failure once more."""
    airflow(3, 3)
    xcoms = {}
    (tmp_path / "file").touch()
    monkeypatch.setenv("DKIST_ISB_SPOOL", str(tmp_path / "file"))

    @contextlib.contextmanager
    def down():
        raise OSError("down")
        yield

    chat_ops_notification(new_context(Instance(xcoms=xcoms), exception="boom"), "w", "1", "A", down)
    [body] = report_run(Instance(states={"A": "failed"}, xcoms=xcoms), published)
    assert body.taskName == "A"


def test_airflow_3_1_names_no_failed_task_but_tells_the_states(airflow, published):
    """The task in its context is any task of the run."""
    airflow(3, 1)
    [body] = report_run(Instance("Z", states={"A": "failed", "Z": "success"}), published)
    assert (body.taskName, body.tryNumber) == ("A", None)
    assert body.logUrl == "http://airflow/dags/w_1/runs/r/tasks/A"


def test_airflow_3_2_names_the_failed_task_where_it_does_not_tell_the_states(airflow, published):
    """As when a DAG is tested in one process."""
    airflow(3, 2)
    [body] = report_run(Instance("A"), published)
    assert (body.taskName, body.tryNumber) == ("A", 1)


def test_airflow_3_0_tells_no_task(airflow, published, monkeypatch, tmp_path):
    """The run is reported, unless the spool folder knows of a report."""
    airflow(3, 0)
    [body] = report_run(Instance("Z"), published)
    assert (body.taskName, body.tryNumber, body.recipeRunId, body.host) == ("unknown", None, 42, None)
    report_task(Instance("A"), published)
    assert report_run(Instance("Z"), published) == []
    elsewhere(monkeypatch, tmp_path)
    assert len(report_run(Instance("Z"), published)) == 1


def test_the_id_of_a_message_without_a_try_tells_runs_that_were_cleared(airflow, published, monkeypatch):
    """A consumer that drops repetitions must not drop the next failure."""
    airflow(3, 0)
    [before] = dag_run_failure_notification(new_context(Instance("Z")), "w", "1", published)
    again = SimpleNamespace(conf={}, start_date=datetime(2026, 1, 2, tzinfo=UTC), run_id="r")
    [after] = dag_run_failure_notification({"run_id": "r", "dag_run": again}, "w", "1", published)
    assert before.message_id != after.message_id


def test_a_callback_of_a_run_never_raises(airflow, published, caplog):
    """Whatever Airflow passes."""
    airflow(3, 3)
    assert dag_run_failure_notification({}, object(), "1", published) == []
    assert "is not looked at" in caplog.text


def test_an_airflow_that_does_not_answer_costs_a_second(airflow, published):
    """The push of the XCom goes on in a thread of its own, and is left behind."""
    import threading
    import time

    airflow(3, 3)
    ended = threading.Event()

    class Hanging(Instance):
        def xcom_push(self, key, value):
            ended.wait(30)

    started = time.monotonic()
    report_task(Hanging(), published)
    assert time.monotonic() - started < 5
    assert len(published.messages) == 1
    ended.set()
