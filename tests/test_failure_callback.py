"""The message that a task has failed, without a broker."""

import contextlib
import json
import logging
import os
import socket
import time
from datetime import UTC, datetime
from typing import ClassVar

import pika
import pytest
from support.ports import free_ports

from dkist_processing_core import failure_callback, testing
from dkist_processing_core.failure_callback import (
    RecipeRunFailureMessage,
    RecipeRunFailureMessageBody,
    chat_ops_notification,
    parse_dag_run_id_from_context,
    parse_log_url_from_context,
)
from dkist_processing_core.isb import spool
from dkist_processing_core.isb.envelope import Envelope
from dkist_processing_core.isb.failures import details as last_words


class TaskInstance:
    log_url = "http://airflow/log"
    try_number = 1
    map_index = -1


class WithoutUrl:
    @property
    def log_url(self):
        raise RuntimeError("no base URL")


def new_context(**changes):
    return {"run_id": "manual__1", "task_instance": TaskInstance(), **changes}


def notify(context, producer_factory=None):
    keywords = {"producer_factory": producer_factory} if producer_factory else {}
    return chat_ops_notification(context, "l0_to_l1_cam", "1.0", "Calibrate", **keywords)


@pytest.fixture
def recorded():
    """What is published, in memory, by the way that a real message takes up to the broker."""
    with testing.recorded() as recorded:
        yield recorded


def failing(error):
    @contextlib.contextmanager
    def factory():
        raise error
        yield

    return factory


def test_the_message_has_the_keys_that_consumers_read(recorded):
    """It is published once and returned; what is not known beyond them is null."""
    message = notify(new_context())
    [envelope] = recorded.messages
    assert envelope == message.envelope()
    assert (envelope.routing_key, envelope.queue) == ("recipe.run.failure.m", "recipe.run.failure.q")
    body = json.loads(envelope.body)
    assert len(body.pop("conversationId")) == 32
    assert body == {
        "workflowName": "l0_to_l1_cam",
        "workflowVersion": "1.0",
        "taskName": "Calibrate",
        "dagRunId": "manual__1",
        "logUrl": "http://airflow/log",
        "dagId": None,
        "recipeRunId": None,
        "tryNumber": 1,
        "mapIndex": None,
        "host": socket.gethostname(),
        "exitCode": None,
        "signal": None,
        "error": None,
        "traceId": None,
        "transactionId": None,
    }
    assert list(spool.waiting()) == []


def test_a_producer_of_ones_own_is_given_the_message():
    """It is used instead of the one that the settings name."""
    messages = []

    class Producer:
        publish = messages.append

    @contextlib.contextmanager
    def factory():
        yield Producer()

    with testing.recorded() as recorded:
        assert [notify(new_context(), factory)] == messages
    assert recorded.messages == []


class Full(TaskInstance):
    dag_id = "l0_to_l1_cam_1.0"
    run_id = "manual__1"
    task_id = "Calibrate"
    hostname = "worker-7"


class Run:
    conf: ClassVar = {"recipe_run_id": 42}


def failed_with(text):
    return new_context(task_instance=Full(), dag_run=Run(), exception=RuntimeError(text))


@pytest.mark.parametrize(
    ("text", "status", "signal"),
    [
        ("Bash command failed. The command returned a non-zero exit code 1.", 1, None),
        ("Bash command failed. The command returned a non-zero exit code 137.", 137, "SIGKILL"),
        ("Command '[...]' returned non-zero exit status 143.", 143, "SIGTERM"),
        ("Command '[...]' returned exit status -9", -9, "SIGKILL"),
        ("something else", None, None),
        ("exit code 250", 250, None),
    ],
    ids=["failed", "killed", "terminated", "negative", "none", "no-signal"],
)
def test_the_message_tells_what_helps_whoever_is_woken(recorded, text, status, signal):
    """Where it ran, which try, how it ended and what it said."""
    body = notify(failed_with(text)).body
    assert (body.dagId, body.recipeRunId, body.tryNumber, body.host) == ("l0_to_l1_cam_1.0", 42, 1, "worker-7")
    assert (body.exitCode, body.signal) == (status, signal)
    assert body.error == f"RuntimeError: {text}"


def test_the_message_tells_what_the_script_means_by_its_exit_status(recorded):
    """An environment that could not be built is no fault of the task."""
    body = notify(failed_with("returned a non-zero exit code 69.")).body
    assert "the environment of the task could not be built" in body.error


def test_the_message_tells_the_last_words_of_the_task(recorded, monkeypatch):
    """The task leaves them in a file, which is gone afterwards; what is secret in an address is not told."""
    for name, value in {"DAG_ID": Full.dag_id, "DAG_RUN_ID": Full.run_id, "TASK_ID": Full.task_id}.items():
        monkeypatch.setenv(f"AIRFLOW_CTX_{name}", value)
    monkeypatch.setenv("AIRFLOW_CTX_TRY_NUMBER", "1")
    error = last_words.last_lines(
        "\n".join([f"line {number}" for number in range(50)] + ["http://me:pw@host/x \udce9"])
    )
    last_words.write({"error": error, "traceId": "abc"})
    body = notify(failed_with("exit code 1")).body
    assert body.error.splitlines()[0] == "line 31"
    assert body.error.splitlines()[-1] == "http://<redacted>@host/x \\udce9"
    assert (body.traceId, body.exitCode) == ("abc", 1)
    assert notify(failed_with("exit code 1")).body.error == "RuntimeError: exit code 1"


def test_last_words_that_nobody_came_for_are_forgotten(monkeypatch):
    """After a week."""
    folder = spool.spool_folder() / last_words.FOLDER
    folder.mkdir(parents=True)
    old = folder / "old.json"
    old.write_text("{}")
    os.utime(old, (0, 0))
    for name in ("DAG_ID", "DAG_RUN_ID", "TASK_ID", "TRY_NUMBER"):
        monkeypatch.setenv(f"AIRFLOW_CTX_{name}", "1")
    last_words.write({"error": "x"})
    assert [each.name for each in folder.iterdir()] == [f"{last_words.name_of_try(1, 1, 1, 1)}.json"]


def test_the_message_id_tells_repetitions_from_other_failures(recorded):
    """The same try gives the same id; another run, try, task or map index gives another."""

    class Second(TaskInstance):
        try_number = 2

    class Mapped(TaskInstance):
        map_index = 3

    same = [notify(new_context()).message_id for _ in range(2)]
    others = [
        notify(new_context(run_id="manual__2")).message_id,
        notify(new_context(task_instance=Second())).message_id,
        notify(new_context(task_instance=Mapped())).message_id,
        chat_ops_notification(new_context(), "l0_to_l1_cam", "1.0", "Other").message_id,
        chat_ops_notification(new_context(), "l0_to_l1_cam", "1.1", "Calibrate").message_id,
    ]
    assert same[0] == same[1]
    assert len({same[0], *others}) == 6
    assert notify({}).message_id != notify({}).message_id


@pytest.mark.parametrize(
    ("context", "run_id", "log_url"),
    [
        ({}, None, None),
        (new_context(), "manual__1", "http://airflow/log"),
        ({"dag_run": type("Run", (), {"run_id": "r"})}, "r", None),
        ({"task_instance": object()}, None, None),
        ({"task_instance": WithoutUrl()}, None, None),
    ],
    ids=["empty", "full", "run-only", "no-url", "url-raises"],
)
def test_a_context_may_lack_anything(context, run_id, log_url, recorded):
    """Airflow's versions differ in what they pass."""
    assert parse_dag_run_id_from_context(context) == run_id
    assert parse_log_url_from_context(context) == log_url
    assert notify(context).body.dagRunId == run_id


@pytest.mark.parametrize(
    "error", [OSError("down"), ValueError("odd"), TimeoutError()], ids=lambda error: type(error).__name__
)
def test_what_cannot_be_published_is_kept(error):
    """One file with the whole message; the callback does not raise."""
    message = notify(new_context(), failing(error))
    [kept] = spool.waiting()
    envelope = kept.envelope
    assert json.loads(envelope.body) == json.loads(message.body.model_dump_json())
    assert (envelope.routing_key, envelope.queue) == ("recipe.run.failure.m", "recipe.run.failure.q")
    assert (envelope.message_id, envelope.type) == (message.message_id, "recipe.run.failure")
    assert abs(envelope.timestamp - time.time()) < 60
    assert abs((kept.kept_at - datetime.now(UTC)).total_seconds()) < 60


def test_what_cannot_be_kept_goes_to_the_log_whole(monkeypatch, tmp_path, caplog):
    """A spool folder that is a file: every fact of the message is in the log."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DKIST_ISB_SPOOL", str(tmp_path / "file"))
    with caplog.at_level(logging.ERROR):
        notify(new_context(), failing(OSError("down")))
    for fact in ("l0_to_l1_cam", "1.0", "Calibrate", "manual__1", "http://airflow/log"):
        assert fact in caplog.text


@pytest.mark.parametrize("value", ["{", '{"interservice-bus": 3}', "[]"], ids=["syntax", "shape", "list"])
def test_a_malformed_configuration_loses_nothing(monkeypatch, caplog, value):
    """The callback returns, the log names the variable, and the message is kept."""
    monkeypatch.setenv("MESH_CONFIG", value)
    with caplog.at_level(logging.ERROR):
        message = notify(new_context())
    [line] = [each for each in caplog.messages if each.startswith("Failure message not published")]
    assert "MESH_CONFIG" in line
    assert "must look like" in line
    assert "\n" not in line
    assert [each.envelope.message_id for each in spool.waiting()] == [message.message_id]


def test_facts_of_another_type_are_told_as_text(recorded):
    """A run id that is a number, attributes that cannot be computed: the message goes out all the same."""

    class Odd:
        log_url = b"http://x"

        @property
        def try_number(self):
            raise RuntimeError("no database")

    message = notify({"run_id": 7, "task_instance": Odd()})
    assert (message.body.dagRunId, message.body.logUrl) == ("7", "b'http://x'")
    assert [json.loads(each.body)["dagRunId"] for each in recorded.messages] == ["7"]


def test_a_callback_that_is_called_wrongly_is_reported(caplog):
    """What cannot be made into a message raises nothing out of the callback."""
    with caplog.at_level(logging.ERROR):
        assert chat_ops_notification({}, object(), "1.0", "Calibrate") is None
    assert "The failure of task Calibrate of" in caplog.text
    assert "is not reported" in caplog.text


def test_a_damaged_file_in_the_spool_hides_no_other():
    """It is told with what is wrong with it, and stays."""
    message = notify(new_context(), failing(OSError("down")))
    damaged = spool.spool_folder() / "00000000000000000000-x.json"
    damaged.touch()
    assert [each.envelope and each.envelope.message_id for each in spool.waiting()] == [None, message.message_id]
    [first, _] = spool.waiting()
    assert (first.file, first.damage[:15]) == (damaged, "JSONDecodeError")


def test_a_message_that_another_release_has_kept_is_read():
    """What it wrote beyond our attributes is passed over."""
    older = {"routing_key": "k", "queue": "q", "body": "{}", "message_id": "i", "exchange": "x", "queue_arguments": {}}
    assert Envelope.from_json(json.dumps(older)) == Envelope(routing_key="k", queue="q", body="{}", message_id="i")


def test_files_of_the_oldest_releases_find_the_callback():
    """They import it from a module of another name."""
    from dkist_processing_core import _failure_callback

    assert _failure_callback.chat_ops_notification is chat_ops_notification


@pytest.mark.parametrize("name", ["PIP_TIMEOUT", "RETRY_CONFIG", "ELASTIC_APM_ENABLED"])
def test_settings_of_something_else_do_not_keep_a_message_back(monkeypatch, name):
    """Malformed, they are no concern of the publisher."""
    monkeypatch.setenv(name, "{nonsense")
    from dkist_processing_core.config import InterserviceBusConfiguration

    assert InterserviceBusConfiguration().isb_mesh_service.port == 5672


def test_a_broker_that_is_down_costs_at_most_ten_seconds(monkeypatch):
    """Nothing listens on the port: the message is in the spool when the callback returns."""
    [port] = free_ports(1)
    monkeypatch.setenv(
        "MESH_CONFIG", json.dumps({"interservice-bus": {"mesh_address": "127.0.0.1", "mesh_port": port}})
    )
    started = time.monotonic()
    message = notify(new_context())
    assert time.monotonic() - started < 10
    assert [each.envelope.message_id for each in spool.waiting()] == [message.message_id]


def test_the_spool_lies_under_the_state_folder_by_default(monkeypatch, tmp_path):
    """DKIST_ISB_SPOOL, else XDG_STATE_HOME, else the home folder."""
    monkeypatch.delenv("DKIST_ISB_SPOOL")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert spool.spool_folder() == tmp_path / ".local/state/dkist-processing-core/isb-spool"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert spool.spool_folder() == tmp_path / "state/dkist-processing-core/isb-spool"


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"queue": "x"}', '{"queue": 1, "routing_key": "k", "body": "", "message_id": ""}'],
    ids=["empty", "list", "incomplete", "type"],
)
def test_a_file_that_is_no_message_is_a_value_error(text):
    """A damaged spool file is told from a message."""
    with pytest.raises(ValueError):
        Envelope.from_json(text)


def test_messages_can_be_made_of_what_consumers_hold():
    """A body, a mapping and JSON text are the same message; more keys are allowed."""
    facts = {"workflowName": "w", "workflowVersion": "1", "taskName": "T", "extra": 1}
    body = RecipeRunFailureMessageBody(**facts)
    assert RecipeRunFailureMessage(body).body.extra == 1
    assert RecipeRunFailureMessage(facts).routing_key == "recipe.run.failure.m"
    assert RecipeRunFailureMessage(json.dumps(facts)).body.taskName == "T"
    assert failure_callback.RecipeRunFailureMessage is RecipeRunFailureMessage


def test_a_message_tells_the_properties_it_is_published_with():
    """A producer of talus, given as producer_factory, asks the message for them."""
    message = RecipeRunFailureMessage({"workflowName": "w", "workflowVersion": "1", "taskName": "T"}, message_id="m")
    assert vars(message.properties) == vars(
        pika.BasicProperties(
            content_type="text/plain",
            content_encoding="UTF-8",
            delivery_mode=2,
            priority=0,
            message_id="m",
            app_id="dkist-processing-core",
            type="recipe.run.failure",
            timestamp=message.timestamp,
        )
    )
