"""The message that a task has failed, without a broker."""

import contextlib
import json
import logging
import socket
import time
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import ClassVar

import pika
import pytest
from support.mesh import mesh_config
from support.ports import free_ports
from support.waiting import assert_takes_at_most

from dkist_processing_core import failure_callback, testing
from dkist_processing_core.common.outcome import Outcome
from dkist_processing_core.config import InterserviceBusConfiguration
from dkist_processing_core.exceptions import ConfigurationError
from dkist_processing_core.failure_callback import (
    RecipeRunFailureMessage,
    chat_ops_notification,
)
from dkist_processing_core.isb import pending, publisher, spool
from dkist_processing_core.isb.envelope import Envelope
from dkist_processing_core.isb.failures import message as module
from dkist_processing_core.isb.failures.context import failed_task
from dkist_processing_core.isb.failures.failure import Failure, last_lines
from dkist_processing_core.isb.failures.message import message_of, report
from dkist_processing_core.isb.publisher import PublishError


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
        "environmentIdentity": None,
    }
    assert list(spool.pending()) == []


def test_a_producer_of_ones_own_is_given_the_message():
    """It is used instead of the one that the settings name."""
    messages = []
    producer = SimpleNamespace(publish=messages.append)
    with testing.recorded() as recorded:
        assert [notify(new_context(), lambda: contextlib.nullcontext(producer))] == messages
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
    ("text", "status", "signal", "meaning"),
    [
        ("Bash command failed. The command returned a non-zero exit code 1.", 1, None, ""),
        ("Bash command failed. The command returned a non-zero exit code 137.", 137, "SIGKILL", ""),
        ("Command '[...]' returned non-zero exit status 143.", 143, "SIGTERM", ""),
        ("Command '[...]' returned exit status -9", -9, "SIGKILL", ""),
        ("something else", None, None, ""),
        ("exit code 250", 250, None, ""),
        ("returned a non-zero exit code 69.", 69, None, "the environment of the task could not be built"),
    ],
    ids=["failed", "killed", "terminated", "negative", "none", "no-signal", "no-environment"],
)
def test_the_message_says_how_the_task_ended(recorded, text, status, signal, meaning):
    """With the text of an exception of Airflow's own operators, and what an exit status of the worker program means."""
    body = notify(failed_with(text)).body
    assert (body.dagId, body.recipeRunId, body.tryNumber, body.host) == ("l0_to_l1_cam_1.0", 42, 1, "worker-7")
    assert (body.exitCode, body.signal) == (status, signal)
    first, *rest = body.error.splitlines()
    assert first == f"RuntimeError: {text}"
    assert meaning in "".join(rest)
    assert bool(meaning) == bool(rest)


OUTCOME = Outcome(
    state="failed",
    summary="ValueError: the flat is missing",
    error="Traceback\nValueError: the flat is missing",
    exit_status=137,
    trace_id="abc",
    transaction_id="def",
    environment_identity="0a",
)


@pytest.mark.parametrize("holder", ["exception", "task", "task_of_instance"])
def test_the_message_holds_the_outcome_that_the_operator_has_set(recorded, holder):
    """On the exception that it raises, or on itself where the context has no exception; the text is not parsed then."""
    context = failed_with("exit code 1")
    if holder == "exception":
        context["exception"].outcome = OUTCOME
    else:
        del context["exception"]
        operator = SimpleNamespace(outcome=OUTCOME)
        context |= {"task": operator} if holder == "task" else {"task_instance": SimpleNamespace(task=operator)}
    body = notify(context).body
    assert (body.error, body.exitCode, body.signal) == (OUTCOME.error, 137, "SIGKILL")
    assert (body.traceId, body.transactionId, body.environmentIdentity) == ("abc", "def", "0a")


@pytest.mark.parametrize(
    ("outcome", "error", "status"),
    [
        (Outcome(state="failed", summary="ValueError: x"), "ValueError: x", 1),
        (Outcome(state="failed", exit_status=69), "RuntimeError: exit code 1\nthe environment of the task could", 69),
        ("not an outcome", "RuntimeError: exit code 1", 1),
    ],
    ids=["summary", "status-alone", "another-attribute"],
)
def test_what_an_outcome_lacks_is_taken_from_the_exception(recorded, outcome, error, status):
    """A task that was killed has written no error."""
    context = failed_with("exit code 1")
    context["exception"].outcome = outcome
    body = notify(context).body
    assert (body.error[: len(error)], body.exitCode) == (error, status)


def test_a_text_in_place_of_an_exception_means_that_the_whole_worker_has_died(recorded):
    """Airflow 2 passes one for a task whose heartbeat is missing."""
    body = notify(failed_with("") | {"exception": "{'DAG Id': 'w_1', 'Hostname': 'worker-7'}"}).body
    first, second = body.error.splitlines()
    assert first.startswith("The whole worker or its machine has died")
    assert second == "{'DAG Id': 'w_1', 'Hostname': 'worker-7'}"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://me:pw@host/x", "https://<redacted>@host/x"),
        ("https://me:p@ss@host/x", "https://<redacted>@host/x"),
        ("https://me:p/a@ss@host/x", "https://<redacted>@host/x"),
        ("https://host/x", "https://host/x"),
    ],
    ids=["plain", "at-sign", "slash", "none"],
)
def test_no_password_of_a_url_reaches_the_message(recorded, url, expected):
    """Not even a part of one that is not percent-encoded."""
    assert notify(failed_with(f"cannot reach {url} today")).body.error == f"RuntimeError: cannot reach {expected} today"


def test_the_message_holds_the_end_of_the_error(recorded):
    """20 lines and 4,000 characters at most; a URL that is truncated was redacted before."""
    lines = [f"line {number}" for number in range(50)]
    assert notify(failed_with("\n".join(lines))).body.error.splitlines() == lines[30:]
    secret = "https://me:secret@host/"
    error = notify(failed_with(secret + "x" * (4000 - len("cret@host/")))).body.error
    assert (len(error), "cret" in error) == (4003, False)
    assert last_lines("odd \udce9") == "odd \\udce9"


def test_a_message_is_made_of_what_is_known():
    """Plain data in, the body out; what is not known is null."""
    failure = Failure(workflow_name="w", workflow_version="1", task_name="T", run_id="r", exit_status=-15)
    body = message_of(failure).body
    assert (body.conversationId, body.dagRunId, body.exitCode, body.signal) == (failure.message_id, "r", -15, "SIGTERM")
    assert (body.logUrl, body.host, body.error) == (None, None, None)


def test_duplicates_carry_the_same_id(recorded):
    """The same try gives the same id; another run, try, task, version or map index gives another."""
    second = SimpleNamespace(log_url="http://airflow/log", try_number=2, map_index=-1)
    mapped = SimpleNamespace(log_url="http://airflow/log", try_number=1, map_index=3)
    same = [notify(new_context()).message_id for _ in range(2)]
    others = [
        notify(new_context(run_id="manual__2")).message_id,
        notify(new_context(task_instance=second)).message_id,
        notify(new_context(task_instance=mapped)).message_id,
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
    assert failure_callback.parse_dag_run_id_from_context(context) == run_id
    assert failure_callback.parse_log_url_from_context(context) == log_url
    assert notify(context).body.dagRunId == run_id


@pytest.mark.parametrize(
    "error", [OSError("down"), ValueError("odd"), TimeoutError()], ids=lambda error: type(error).__name__
)
def test_what_cannot_be_published_is_spooled(error, caplog):
    """One file with the whole message, and one warning with its name, the id and the reason; no exception."""
    message = notify(new_context(), failing(error))
    [spooled] = spool.pending()
    envelope = spooled.envelope
    assert json.loads(envelope.body) == json.loads(message.body.model_dump_json())
    assert (envelope.routing_key, envelope.queue) == ("recipe.run.failure.m", "recipe.run.failure.q")
    assert (envelope.message_id, envelope.type) == (message.message_id, "recipe.run.failure")
    assert abs(envelope.timestamp - time.time()) < 60
    assert abs((spooled.spooled_at - datetime.now(UTC)).total_seconds()) < 60
    [record] = caplog.records
    assert record.levelname == "WARNING"
    beginning = f"Failure message {message.message_id} could not be published: {type(error).__name__}: {error}. "
    assert record.getMessage().startswith(f"{beginning}It is spooled in {spooled.file}, and is sent after")


def test_pending_messages_get_the_rest_of_the_time(recorded, monkeypatch, caplog):
    """If it is enough, and the broker answers, be it with a refusal; a fault of theirs is no fault of the message."""
    given = []
    monkeypatch.setattr(pending, "send_pending", lambda seconds: given.append(seconds) or {}["a fault"])
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 100.0, time=time.time))
    for total in (2.9, 3.0, 7.5):
        monkeypatch.setattr(publisher, "TOTAL_SECONDS", total)
        notify(new_context())
    assert len(recorded.messages) == 3
    for is_refusal, expected in ((False, [1.0, 5.5]), (True, [1.0, 5.5, 5.5])):
        recorded.bus_error = PublishError("no", retryable=False, is_refusal=is_refusal)
        notify(new_context())
        assert given == expected
    assert caplog.messages.count("Pending messages could not be sent: KeyError: 'a fault'") == 3


@pytest.mark.parametrize("value", ["false", "0", " Off "])
def test_without_a_bus_nothing_is_published_or_kept(value, monkeypatch, caplog):
    """As on a laptop: one line says so."""
    monkeypatch.setenv("DKIST_ISB_ENABLED", value)
    with caplog.at_level(logging.INFO):
        notify(new_context(), failing(AssertionError("it was asked for a broker")))
    assert list(spool.pending()) == []
    [text] = [each.getMessage() for each in caplog.records]
    assert text.endswith("is not reported, since DKIST_ISB_ENABLED is false")


def test_what_cannot_be_spooled_is_logged_whole(monkeypatch, tmp_path, caplog):
    """A spool folder that is a file: one error, with everything that is known and both reasons."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DKIST_ISB_SPOOL", str(tmp_path / "file"))
    message = notify(new_context(), failing(OSError("down at https://me:pw@host")))
    [record] = caplog.records
    text = record.getMessage()
    assert record.levelname == "ERROR"
    assert "OSError: down at https://<redacted>@host" in text
    assert "FileExistsError" in text or "NotADirectoryError" in text
    assert json.loads(text[text.index(": {") + 2 :]) == json.loads(message.body.model_dump_json())


def test_a_failure_is_reported_once_its_message_is_published_or_kept(monkeypatch, tmp_path):
    """Else the callback of the DAG reports it again."""
    failure = failed_task(new_context(), "w", "1.0", "T")

    def is_reported(factory):
        return report(failure, message_of(failure), factory)

    assert is_reported(lambda: contextlib.nullcontext(SimpleNamespace(publish=lambda message: None)))
    assert is_reported(failing(OSError("down")))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DKIST_ISB_SPOOL", str(tmp_path / "file"))
    assert not is_reported(failing(OSError("down")))
    monkeypatch.setenv("DKIST_ISB_ENABLED", "false")
    assert not is_reported(failing(OSError("down")))


@pytest.mark.parametrize("value", ["{", '{"interservice-bus": 3}', "[]"], ids=["syntax", "shape", "list"])
def test_a_malformed_configuration_loses_nothing(monkeypatch, caplog, value):
    """The callback returns, the log names the variable in one line, and the message is spooled."""
    monkeypatch.setenv("MESH_CONFIG", value)
    message = notify(new_context())
    [line] = caplog.messages
    assert "MESH_CONFIG" in line
    assert "must look like" in line
    assert "\n" not in line
    assert [each.envelope.message_id for each in spool.pending()] == [message.message_id]


def test_values_of_another_type_become_text(recorded):
    """A run id that is a number, attributes that cannot be computed: the message goes out all the same."""

    class Odd:
        log_url = b"http://x"

        @property
        def try_number(self):
            raise RuntimeError("no database")

    message = notify({"run_id": 7, "task_instance": Odd()})
    assert (message.body.dagRunId, message.body.logUrl) == ("7", "b'http://x'")
    assert [json.loads(each.body)["dagRunId"] for each in recorded.messages] == ["7"]


@pytest.mark.parametrize("place", ["run_id", "hostname", "dag_id", "log_url", "conf"])
def test_what_cannot_be_encoded_loses_no_message(place):
    """A surrogate, which the conf of a run and a name from the system may hold, is escaped; the message is spooled."""
    text = "odd \udce9"
    context = {place: text, "task_instance": SimpleNamespace(**{place: text})}
    context |= {"dag_run": SimpleNamespace(conf={"recipe_run_id": text})}
    message = notify(context, failing(OSError("no route")))
    [spooled] = spool.pending()
    assert spooled.envelope.message_id == message.message_id
    assert "odd \\udce9" in json.loads(spooled.envelope.body).values()


def test_a_callback_that_is_called_wrongly_is_reported(caplog):
    """What cannot be made into a message raises nothing out of the callback."""
    assert chat_ops_notification({}, object(), "1.0", "Calibrate") is None
    assert "Could not report the failure of task Calibrate of" in caplog.text
    assert caplog.records[-1].levelname == "ERROR"


OF_ANOTHER_KIND = r"^(Attribute|Recursion|Type)Error: "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *(
            (text, ".")
            for text in ("", '{"queue": "x"}', '{"queue": 1, "routing_key": "k", "body": "", "message_id": ""}')
        ),
        *((text, OF_ANOTHER_KIND) for text in ("[]", "3", "null", "[" * 100_000)),
    ],
    ids=["empty", "incomplete", "type", "list", "number", "null", "too-deep"],
)
def test_a_file_that_is_no_message_is_a_value_error(text, message):
    """It says of which kind JSON is that is no table; keys that another release has added are ignored."""
    with pytest.raises(ValueError, match=message):
        Envelope.from_json(text)
    older = {"routing_key": "k", "queue": "q", "body": "{}", "message_id": "i", "exchange": "x", "queue_arguments": {}}
    assert Envelope.from_json(json.dumps(older)) == Envelope(routing_key="k", queue="q", body="{}", message_id="i")


@pytest.mark.parametrize("name", ["PIP_TIMEOUT", "RETRY_CONFIG", "ELASTIC_APM_ENABLED"])
def test_settings_of_something_else_do_not_keep_a_message_back(monkeypatch, name):
    """Malformed, they are no concern of the publisher."""
    monkeypatch.setenv(name, "{nonsense")
    assert InterserviceBusConfiguration().isb_mesh_service.port == 5672


def test_a_broker_that_is_down_costs_at_most_ten_seconds(monkeypatch):
    """Nothing listens on the port: the message is in the spool when the callback returns."""
    [port] = free_ports(1)
    monkeypatch.setenv("MESH_CONFIG", mesh_config(port))
    messages = []
    assert_takes_at_most(10, lambda: messages.append(notify(new_context())))
    pending = {each.envelope.message_id for each in spool.pending()}
    assert pending == {message.message_id for message in messages}


def test_the_spool_lies_under_the_state_folder_by_default(monkeypatch, tmp_path):
    """DKIST_ISB_SPOOL, else XDG_STATE_HOME, else the home folder; where none can be, in the cache, if there is one."""
    monkeypatch.delenv("DKIST_ISB_SPOOL")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert spool.spool_folder() == tmp_path / ".local/state/dkist-processing-core/isb-spool"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert spool.spool_folder() == tmp_path / "state/dkist-processing-core/isb-spool"
    (tmp_path / "file").touch(0o755)
    monkeypatch.setenv("DKIST_ENVIRONMENT_CACHE", str(tmp_path / "cache"))
    for impossible in (str(tmp_path / "file"), f"/{'x' * 300}", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", impossible)
        assert spool.spool_folder() == tmp_path / "cache/isb-spool"
    monkeypatch.delenv("DKIST_ENVIRONMENT_CACHE")
    with pytest.raises(ConfigurationError, match="There is no home folder"):
        spool.spool_folder()


ENVELOPE = {"routing_key": "k", "queue": "q", "body": "{}", "message_id": "m", "type": "t", "timestamp": 1}


@pytest.mark.parametrize(
    "change",
    [
        *({name: "\u00e9" * 127 + "x"} for name in ("routing_key", "queue", "message_id", "type")),
        *({"timestamp": value} for value in (0, 2**64 - 1)),
    ],
    ids=repr,
)
def test_a_message_at_the_limits_of_amqp_is_read(change):
    """A short text has at most 255 bytes, and a timestamp is a number of 64 bits."""
    envelope = Envelope(**{**ENVELOPE, **change})
    assert Envelope.from_json(envelope.to_json()) == envelope
    assert list(json.loads(envelope.to_json())) == sorted(ENVELOPE)
    with pytest.raises(TypeError, match="positional"):
        Envelope(*ENVELOPE.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(
            ({name: value}, f"{name} is not a string of at most 255 bytes: ")
            for name in ("routing_key", "queue", "message_id", "type")
            for value in ("\u00e9" * 128, 1)
        ),
        ({"routing_key": ""}, "routing_key or queue is empty"),
        ({"queue": ""}, "routing_key or queue is empty"),
        ({"queue": "q\r"}, "queue contains a line break: "),
        ({"queue": "q\n"}, "queue contains a line break: "),
        *(({"timestamp": value}, "timestamp is not a number of seconds: ") for value in (-1, 2**64, 1.0, "1")),
        ({"body": None}, "body is not a string: "),
        ({"body": "\ud800"}, "surrogates not allowed"),
        ({"type": "\ud800"}, "surrogates not allowed"),
    ],
    ids=repr,
)
def test_a_message_that_amqp_cannot_carry_is_refused(change, message):
    """Before it costs the other messages their connection."""
    with pytest.raises(ValueError, match=message):
        Envelope.from_json(json.dumps({**ENVELOPE, **change}))


def test_a_message_needs_neither_a_type_nor_a_time():
    """As those of the oldest releases."""
    needed = {name: ENVELOPE[name] for name in ("routing_key", "queue", "body", "message_id")}
    read = Envelope.from_json(json.dumps(needed))
    assert (read.type, read.timestamp) == ("", 0)
    with pytest.raises(FrozenInstanceError):
        read.queue = "other"


def test_messages_can_be_made_of_what_consumers_hold():
    """A body, a mapping and JSON text are the same message; more keys are allowed."""
    facts = {"workflowName": "w", "workflowVersion": "1", "taskName": "T", "extra": 1}
    body = failure_callback.RecipeRunFailureMessageBody(**facts)
    assert RecipeRunFailureMessage(body).body.extra == 1
    assert RecipeRunFailureMessage(facts).routing_key == "recipe.run.failure.m"
    assert RecipeRunFailureMessage(json.dumps(facts)).body.taskName == "T"


def test_a_message_has_the_properties_that_it_is_published_with():
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
