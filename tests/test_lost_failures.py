"""What the DAG processor reports of a failed run: each failure that no task has reported, once."""

import contextlib
import json
import os
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.command_line import run_command, run_python
from support.waiting import PATIENCE_SECONDS, assert_takes_at_most

from dkist_processing_core.failure_callback import chat_ops_notification, dag_run_failure_notification
from dkist_processing_core.isb import spool
from dkist_processing_core.isb.failures import context as of_context
from dkist_processing_core.isb.failures import message, reported
from dkist_processing_core.isb.failures.failure import UNKNOWN_TASK, Failure

FAILURE = Failure(
    workflow_name="w",
    workflow_version="1",
    task_name="A",
    dag_id="w_1",
    run_id="r",
    run_started="2026-01-01T00:00:00+00:00",
    try_number=1,
)
LOST = replace(FAILURE, is_lost=True)
WITHOUT_TRY = replace(LOST, try_number=None)
OF_RUN = replace(WITHOUT_TRY, task_name=UNKNOWN_TASK)
DRIVER = Path(__file__).parent / "support" / "callback_driver.py"


@pytest.fixture
def published():
    """A producer factory that takes every message, and the messages that it took."""
    messages = []

    def factory():
        return contextlib.nullcontext(SimpleNamespace(publish=messages.append))

    factory.messages = messages
    return factory


def report(failure, producer_factory):
    return message.report(failure, message.message_of(failure), producer_factory)


@pytest.mark.parametrize("failure", [LOST, WITHOUT_TRY, OF_RUN], ids=["try", "task", "run"])
def test_a_failure_that_nobody_reported_is_reported_once(published, failure):
    """Whatever Airflow says about it; the DAG processor may call back twice for the same failure."""
    assert [report(failure, published) for _ in range(2)] == [True, False]
    assert [each.body.taskName for each in published.messages] == [failure.task_name]


@pytest.mark.parametrize("lost", [LOST, WITHOUT_TRY, OF_RUN], ids=["try", "task", "run"])
def test_a_task_that_has_reported_its_failure_is_recognised_by_the_shared_spool_folder(published, lost):
    """Even where the spool folder is all that the two machines share."""
    report(FAILURE, published)
    assert report(lost, published) is False


def test_a_task_that_has_reported_its_failure_is_recognised_by_its_xcom(published):
    """By the id of the message, and where the try is not known by any id, since Airflow deletes XComs with the try."""
    assert reported.is_reported(replace(LOST, reported_id=FAILURE.message_id))
    assert reported.is_reported(replace(WITHOUT_TRY, reported_id=FAILURE.message_id))
    assert not reported.is_reported(LOST)


@pytest.mark.parametrize(
    "lost",
    [
        replace(LOST, try_number=2),
        replace(LOST, try_number=2, reported_id=FAILURE.message_id),
        replace(LOST, task_name="B"),
        replace(WITHOUT_TRY, task_name="B"),
        replace(WITHOUT_TRY, run_started="2026-01-02T00:00:00+00:00"),
        replace(OF_RUN, run_id="s"),
    ],
    ids=["try", "old-xcom", "task", "task-without-try", "cleared", "run"],
)
def test_another_failure_is_not_mistaken_for_a_reported_one(published, lost):
    """Another try, task or run, and a run that somebody has cleared."""
    report(FAILURE, published)
    assert report(lost, published) is True


def test_a_task_in_its_own_process_is_never_held_to_be_reported(published):
    """A caller may report the same failure as often as it wants to; the duplicates carry the same id."""
    assert [report(FAILURE, published) for _ in range(2)] == [True, True]
    assert len({each.message_id for each in published.messages}) == 1


def test_a_failure_that_could_be_neither_published_nor_spooled_does_not_count_as_reported(
    published, monkeypatch, tmp_path
):
    """It is in the log of the task alone, so the DAG processor reports it once more."""

    @contextlib.contextmanager
    def down():
        raise OSError("down")
        yield

    (tmp_path / "file").touch()
    with monkeypatch.context() as patch:
        patch.setenv("DKIST_ISB_SPOOL", str(tmp_path / "file"))
        assert report(FAILURE, down) is False
    assert report(LOST, published) is True


def test_records_expire_after_a_week():
    """Those of others included; what is no record of ours stays, whatever its age."""
    folder = spool.prepare(spool.spool_folder()) / spool.REPORTED
    folder.mkdir()
    name = f"{1:016x}-{1:016x}-{{:032x}}"
    old = folder / name.format(1)
    old.touch()
    full, link, folder_of_others = (folder / name.format(number) for number in (2, 3, 4))
    full.write_text("not ours")
    link.symlink_to(full)
    folder_of_others.mkdir()
    others = [full, folder_of_others, *(folder / each for each in ("raw-frames", "odd \udce9"))]
    for each in others[2:]:
        each.touch()
    for each in (old, *others):
        os.utime(each, (0, 0))
    reported.remember(FAILURE)
    assert not old.exists()
    assert all(each.exists() for each in (*others, link))
    assert reported.is_reported(LOST)


def test_messages_of_a_run_that_was_cleared_carry_another_id():
    """Also where the try is not known: a consumer that drops duplicates must not drop the next failure."""
    assert OF_RUN.message_id != replace(OF_RUN, run_started="2026-01-02T00:00:00+00:00").message_id
    assert OF_RUN.message_id == replace(OF_RUN, host="another").message_id


class TestOnRealAirflow:
    """The installed Airflow calls back with its own objects; of the server only the answers are written down."""

    pytestmark = pytest.mark.airflow

    @pytest.fixture
    def call_back(self, tmp_path):
        """Let Airflow call back; return the bodies that were spooled, the XComs that were written and the log."""

        def call(process, subject, **answers):
            before = {each.file for each in spool.pending()}
            asked = json.dumps({"process": process, "subject": subject, **answers})
            # MESH_CONFIG is malformed, so the message is spooled at once.
            variables = {"AIRFLOW_HOME": tmp_path / "airflow", "MESH_CONFIG": "{"}
            done = run_command(sys.executable, DRIVER, asked, **variables).check()
            new = [each for each in spool.pending() if each.file not in before]
            xcoms = json.loads(done.stdout.splitlines()[-1])["xcoms"]
            log = done.stdout + done.stderr
            assert "[error" not in log, log
            return [json.loads(each.envelope.body) for each in new], xcoms, log

        return call

    def test_a_failed_task_reports_itself_and_writes_an_xcom(self, call_back, monkeypatch, tmp_path):
        """The DAG processor recognises it by the XCom where it shares no spool folder with the worker."""
        [body], xcoms, _ = call_back("task", "task")
        assert (body["taskName"], body["tryNumber"], body["recipeRunId"], body["host"]) == ("A", 2, 42, "worker-7")
        assert (body["dagId"], body["dagRunId"], body["mapIndex"]) == ("w_1", "r", None)
        assert body["error"] == "AirflowException: Bash command failed. The command returned a non-zero exit code 3."
        assert body["exitCode"] == 3
        assert body["logUrl"] == "http://localhost:8080/dags/w_1/runs/r/tasks/A?try_number=2"
        assert xcoms == {"A": body["conversationId"]}
        monkeypatch.setenv("DKIST_ISB_SPOOL", str(tmp_path / "another machine"))
        states = {"A": "failed", "B": "failed", "C": "upstream_failed", "D": "success"}
        [lost], written, _ = call_back("dag-processor", "run", states=states, xcoms=xcoms)
        assert (lost["taskName"], written) == ("B", {})

    def test_each_failed_task_that_could_not_report_itself_is_reported(self, call_back):
        """With the try of the one that Airflow names, the address of the log of each, and without an XCom."""
        states = {"A": "failed", "B": "failed", "C": "upstream_failed", "D": "success"}
        (first, second), xcoms, log = call_back("dag-processor", "run", states=states)
        assert (first["taskName"], first["tryNumber"], first["host"]) == ("A", 2, "worker-7")
        assert (second["taskName"], second["tryNumber"], second["host"]) == ("B", None, None)
        assert first["logUrl"] == "http://localhost:8080/dags/w_1/runs/r/tasks/A?try_number=2"
        assert second["logUrl"] == "http://localhost:8080/dags/w_1/runs/r/tasks/B"
        assert first["recipeRunId"] == second["recipeRunId"] == 42
        assert "was killed" in first["error"]
        assert xcoms == {}
        assert "2 of 2 failed tasks had not reported their failure" in log
        assert call_back("dag-processor", "run", states=states)[0] == []

    @pytest.mark.parametrize(
        ("tries", "cleared", "number", "assumed"),
        [({"B": 3}, 0, 3, None), ({}, 0, None, 1), ({}, 1, None, None)],
        ids=["of-its-xcom", "the-first", "cleared"],
    )
    def test_a_lost_task_is_reported_with_the_id_of_its_own_message(self, call_back, tries, cleared, number, assumed):
        """Airflow names the try of one failed task alone; so a message that the task has sent is not doubled."""
        states = {"B": "failed"}
        [body], _, _ = call_back("dag-processor", "run", states=states, tries=tries, clear_number=cleared)
        own = replace(FAILURE, task_name="B", try_number=number, assumed_try=assumed)
        assert (body["tryNumber"], body["conversationId"]) == (number, own.message_id)

    def test_a_task_whose_supervisor_was_killed_is_reported_by_the_dag_processor(self, call_back):
        """Once, without an XCom, although Airflow calls back for the task and then for the run."""
        [body], xcoms, _ = call_back("dag-processor", "task")
        assert (body["taskName"], body["tryNumber"], body["host"]) == ("A", 2, "worker-7")
        assert body["error"].startswith("The whole worker or its machine has died")
        assert xcoms == {}
        assert call_back("dag-processor", "task")[0] == []
        assert call_back("dag-processor", "run", states={"A": "failed"})[0] == []


LOG_URL_OF_3_0 = """
from types import SimpleNamespace
from dkist_processing_core.isb.failures import context
context.airflow_version = lambda: (3, 0)
instance = SimpleNamespace(dag_id="w 1", task_id="A", try_number=2)
print(context.failed_task({"run_id": "a+b", "task_instance": instance}, "w", "1", "A").log_url, end="")
"""


@pytest.mark.airflow
def test_the_address_of_the_log_is_made_for_airflow_3_0(tmp_path):
    """Its task instance has none, for which this one stands in; the configuration is that of the installed Airflow."""
    environment = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__API__BASE_URL": "https://airflow/x/"}
    done = run_python(LOG_URL_OF_3_0, **environment)
    assert done.stdout == "https://airflow/x/dags/w%201/runs/a%2Bb/tasks/A?try_number=2"


class Instance:
    """
    Stands in for the task instance of an Airflow that is not installed here.

    The matrix of Airflow versions has no killed task, and of each version only one can be installed beside the tests.
    """

    dag_id, run_id, map_index, hostname = "w_1", "r", -1, "worker-7"

    def __init__(self, task_id="A", states=None):
        self.task_id = task_id
        self.try_number = 1
        self.log_url = f"http://airflow/dags/w_1/runs/r/tasks/{task_id}?try_number=1"
        self._states = states

    def get_task_states(self, dag_id, run_ids):
        if self._states is None:
            raise NotImplementedError("this Airflow does not provide them")
        return {run_ids[0]: self._states}


def new_context(instance, **more):
    run = SimpleNamespace(conf={"recipe_run_id": 42}, start_date=datetime(2026, 1, 1, tzinfo=UTC), run_id="r")
    return {"run_id": "r", "dag_run": run, "task_instance": instance, **more}


@pytest.mark.parametrize(
    ("version", "instance", "expected"),
    [
        ((2, 11), Instance(states={"A": "failed"}), []),
        ((3, 0), Instance("Z"), [(UNKNOWN_TASK, None, None)]),
        ((3, 0), None, [(UNKNOWN_TASK, None, None)]),
        ((3, 1), Instance("Z", states={"A": "failed", "Z": "success"}), [("A", None, "tasks/A")]),
        ((3, 2), Instance("A"), [("A", 1, "tasks/A?try_number=1")]),
    ],
    ids=["2-calls-back-for-tasks", "3.0-names-no-task", "3.0-has-no-task", "3.1-any-task", "3.2-without-states"],
)
def test_what_other_versions_of_airflow_say_about_a_run(monkeypatch, version, instance, expected):
    """Stand-ins, see above: 3.1 passes any task of the run, and none of them has states when a DAG is tested."""
    monkeypatch.setattr(of_context, "airflow_version", lambda: version)
    failures = of_context.failed_tasks(new_context(instance), "w", "1")
    beginning = "http://airflow/dags/w_1/runs/r/"
    assert [(each.task_name, each.try_number, each.log_url) for each in failures] == [
        (name, number, end and beginning + end) for name, number, end in expected
    ]
    assert all(each.is_lost and each.recipe_run_id == 42 and each.run_id == "r" for each in failures)


def test_a_callback_of_a_run_never_raises(monkeypatch, published, caplog):
    """Whatever is passed to it."""
    monkeypatch.setattr(of_context, "airflow_version", lambda: (3, 3))
    assert dag_run_failure_notification({}, object(), "1", published) == []
    assert "Could not determine which tasks failed in" in caplog.text


def test_an_xcom_that_cannot_be_written_costs_nothing(monkeypatch, published):
    """Neither the message nor what the callback returns, here without a task instance."""
    monkeypatch.setattr(of_context, "airflow_version", lambda: (3, 3))
    message_returned = chat_ops_notification({"run_id": "r", "exception": "boom"}, "w", "1", "A", published)
    assert published.messages == [message_returned]


@pytest.mark.parametrize(
    ("version", "more", "expected"),
    [((3, 3), {"exception": "boom"}, 1), ((3, 3), {}, 0), ((3, 0), {"exception": "boom"}, 0)],
    ids=["task", "dag-processor", "3.0"],
)
def test_an_xcom_is_written_in_the_process_of_the_task_alone(monkeypatch, published, version, more, expected):
    """And not for a DAG processor that could not read it. A stand-in, since 3.0 is not installed."""
    monkeypatch.setattr(of_context, "airflow_version", lambda: version)
    written = []
    instance = SimpleNamespace(task_id="A", xcom_push=lambda **xcom: written.append(xcom))
    chat_ops_notification(new_context(instance, **more), "w", "1", "A", published)
    assert len(written) == expected


@pytest.mark.parametrize(
    ("version", "number", "expected"),
    [((3, 3), 1, []), ((3, 3), 2, [{"key": of_context.TRY_KEY, "value": 2}]), ((3, 1), 2, [])],
    ids=["first", "second", "3.1"],
)
def test_a_try_that_is_not_the_first_is_noted_in_an_xcom(monkeypatch, version, number, expected):
    """The DAG processor takes a try for the first one if nothing says that it is another."""
    monkeypatch.setattr(of_context, "airflow_version", lambda: version)
    written = []
    of_context.write_try({"ti": SimpleNamespace(try_number=number, xcom_push=lambda **xcom: written.append(xcom))})
    assert written == expected


def test_an_airflow_that_does_not_answer_costs_a_second(monkeypatch, published):
    """The XCom is written in a thread, which is abandoned. A stand-in, since no real Airflow hangs when asked to."""
    monkeypatch.setattr(of_context, "airflow_version", lambda: (3, 3))
    ended = threading.Event()
    instance = SimpleNamespace(task_id="A", xcom_push=lambda **_: ended.wait(PATIENCE_SECONDS))
    context = new_context(instance, exception="boom")

    def attempt():
        chat_ops_notification(context, "w", "1", "A", published)

    assert_takes_at_most(3, attempt)
    assert len(published.messages) >= 1
    ended.set()
