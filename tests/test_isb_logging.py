"""The log of a task on the interservice bus: a real RabbitMQ, real processes, and peers that misbehave."""

import contextlib
import fcntl
import itertools
import json
import logging
import os
import re
import signal
import socket
import threading
import time
from datetime import UTC, datetime, timedelta

import pika
import pytest
from support.logs import (
    QUEUE,
    ROUTING_KEY,
    Received,
    end_group,
    is_end,
    run,
    shipper_of,
    start,
    texts,
    wait_until_nobody_sends,
    write_tasks,
)
from support.mesh import mesh_config
from support.peers import peer, relay
from support.ports import free_ports
from support.processes import is_alive, wait_for, wait_until_dead
from support.releases import REPOSITORY

from dkist_processing_core.isb.logs import intake as log_intake
from dkist_processing_core.isb.logs.body import body, unpacked_records
from dkist_processing_core.isb.logs.intake import LogIntake
from dkist_processing_core.isb.logs.outbox import Outbox
from dkist_processing_core.isb.logs.record import packed_records


@pytest.fixture
def team(tmp_path):
    """A folder with a team's tasks in it."""
    write_tasks(tmp_path)
    return tmp_path


@pytest.fixture
def broker(rabbitmq, monkeypatch):
    """The real broker, with nothing declared on it, as the settings name it."""
    monkeypatch.setenv("MESH_CONFIG", rabbitmq.mesh_config)
    rabbitmq.forget(QUEUE)
    yield rabbitmq
    wait_until_nobody_sends(rabbitmq.mesh_config)
    rabbitmq.forget(QUEUE)


@pytest.fixture
def received(broker):
    return Received(broker)


@contextlib.contextmanager
def running(team, task, **environment):
    """A task that runs until the body has ended; the process and its shipper."""
    process = start(team, task, **environment)
    try:
        wait_for(team / "running")
        yield process, shipper_of(process.pid)
    finally:
        end_group(process)


def sequences(records):
    return [record["sequence"] for record in records]


# ---- what arrives ----------------------------------------------------------------------------------------------------


@pytest.mark.rabbitmq
def test_each_record_arrives_once_and_in_order(team, received):
    """Numbers have no gap, every record says of which task it is, and what the team logged is among them."""
    began = datetime.now(UTC)
    context = {"AIRFLOW_CTX_DAG_RUN_ID": "manual__1", "AIRFLOW_CTX_TRY_NUMBER": "3"}
    status, _, stderr = run(team, "Good", **context)
    assert status == 0
    assert "interservice bus" not in stderr
    records = received.until_the_end()
    assert sequences(records) == list(range(1, len(records) + 1))
    facts = {
        "schemaVersion": 1,
        "recipeRunId": 42,
        "workflowName": "w",
        "workflowVersion": "1",
        "taskName": "Good",
        "dagRunId": "manual__1",
        "tryNumber": 3,
        "host": socket.gethostname(),
        "droppedRecords": None,
    }
    for record in records:
        assert {key: record[key] for key in facts} == facts
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", record["timestamp"])
        assert abs(datetime.fromisoformat(record["timestamp"]) - began) < timedelta(minutes=1)
    theirs = [record for record in records if record["logger"] == "team.camera"]
    assert texts(theirs) == [*(f"frame {number}" for number in range(20)), "from a thread"]
    assert [(each["level"], each["levelNumber"], each["threadName"]) for each in theirs[-2:]] == [
        ("INFO", 20, "MainThread"),
        ("WARNING", 30, "reader"),
    ]


@pytest.mark.rabbitmq
def test_the_life_of_a_task_is_told(team, received):
    """Started, each phase begun and ended, succeeded; with durations where something has ended; each told once."""
    run(team, "Good")
    records = [each for each in received.until_the_end() if each["logger"].startswith("dkist_processing_core")]
    assert [(each["event"], each["phase"]) for each in records] == [
        ("started", None),
        ("phase_started", "Pre Run"),
        ("phase_ended", "Pre Run"),
        ("phase_started", "Run"),
        ("phase_ended", "Run"),
        ("phase_started", "Post Run"),
        ("phase_ended", "Post Run"),
        ("succeeded", None),
    ]
    durations = [each["durationSeconds"] for each in records]
    assert [duration is not None for duration in durations] == [False, False, True, False, True, False, True, True]
    assert 0 <= durations[4] <= durations[7] < 60


@pytest.mark.rabbitmq
def test_properties_are_those_of_the_documentation(team, received):
    """Persistent JSON; the message id is that of the run of the task and the number of the record."""
    run(team, "Good")
    records = received.until_the_end()
    for properties in received.properties:
        assert (properties.content_type, properties.content_encoding) == ("application/json", "UTF-8")
        assert (properties.app_id, properties.type) == ("dkist-processing-core", "task.log")
        assert properties.delivery_mode == pika.DeliveryMode.Persistent.value
    ids = [properties.message_id for properties in received.properties]
    [run_id] = {each.partition("-")[0] for each in ids}
    assert re.fullmatch("[0-9a-f]{32}", run_id)
    assert ids == [f"{run_id}-{number}" for number in sequences(records)]
    moment = datetime.fromisoformat(records[0]["timestamp"])
    assert received.properties[0].timestamp == int(moment.timestamp())


@pytest.mark.rabbitmq
def test_every_key_is_documented(team, received):
    """The page about it names those that are sent, and no other."""
    run(team, "Good")
    keys = set(received.until_the_end()[0])
    page = (REPOSITORY / "docs" / "logging.rst").read_text()
    table = page.partition("What a record says")[2].partition("list-table:: Events")[0]
    assert set(re.findall(r"^   \* - ``(\w+)``", table, re.MULTILINE)) == keys


@pytest.mark.rabbitmq
@pytest.mark.parametrize(
    ("task", "text", "last"),
    [
        ("Bad", "RuntimeError: the flat is missing", "failed"),
        ("Leaves", None, "succeeded"),
    ],
    ids=["raises", "sys.exit(0)"],
)
def test_the_end_is_told_as_it_is(team, received, task, text, last):
    """A failure comes with its traceback and the duration; leaving with exit status 0 is none."""
    run(team, task)
    end = received.until_the_end()[-1]
    assert end["event"] == last
    assert end["durationSeconds"] >= 0
    if text:
        assert end["level"] == "ERROR"
        assert end["message"].endswith(text)
        assert end["traceback"].startswith("Traceback (most recent call last):")
        assert end["traceback"].endswith(text)
        assert "in run\n" in end["traceback"]


@pytest.mark.rabbitmq
def test_a_task_that_is_terminated_says_so(team, received):
    """SIGTERM to its process group ends the task in order, and reaches the shipper neither."""
    with running(team, "Stops") as (process, _):
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(20) == 143
    end = received.until_the_end()[-1]
    assert (end["event"], end["message"].rpartition(": ")[2]) == ("failed", "143")
    assert "Terminated" in end["traceback"]


@pytest.mark.rabbitmq
def test_life_is_told_whatever_level_is_shown(team, received):
    """DKIST_LOG_LEVEL chooses among what the team logs."""
    assert run(team, "Good", DKIST_LOG_LEVEL="WARNING")[0] == 0
    records = received.until_the_end()
    assert texts(each for each in records if not each["event"]) == ["from a thread"]
    assert len(records) == 9
    assert run(team, "Good", DKIST_LOG_LEVEL="DEBUG")[0] == 0
    again = received.until(lambda records: sum(map(is_end, records)) == 2)
    assert "a debug record" in texts(again)


@pytest.mark.rabbitmq
def test_a_task_that_is_called_without_with_is_told_as_well(team, received):
    """As from a notebook; its log ends with the call."""
    program = """
import logging, team_tasks
before = logging.Logger.callHandlers
task = team_tasks.Bad(1, "w", "1")
try:
    task()
except RuntimeError:
    logging.warning("afterwards")
assert logging.Logger.callHandlers is before
"""
    process = start(team, None, program=program)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (0, "")
    assert "afterwards" in stderr
    records = received.until_the_end()
    assert (records[0]["event"], records[-1]["event"]) == ("started", "failed")
    assert "afterwards" not in texts(records)


@pytest.mark.rabbitmq
def test_a_task_that_cannot_be_entered_hands_over_its_log(team, received):
    """No __exit__ follows an __enter__ that raises; what was logged until then arrives."""
    assert run(team, "Enters")[0] == 1
    assert "entered" in texts(received.until(lambda records: records))


@pytest.mark.rabbitmq
def test_odd_records_arrive_and_hurt_nobody(team, received):
    """Half surrogates, objects, texts and names of classes of theirs, faults of any kind, and very long texts."""
    status, _, stderr = run(team, "Odd")
    assert status == 0
    assert "Task Odd complete" in stderr
    records = received.until_the_end()
    assert sequences(records) == list(range(1, len(records) + 1))
    records = [each for each in records if each["event"] is None]
    shown = texts(records)
    assert (records[0]["level"], records[0]["levelNumber"], shown[0]) == ("NOTICE", 25, "a level of theirs")
    assert shown[1:6] == [
        "half a pair: \\udc80 \\ud800",
        "not\0printable \U0001f600 \u2028",
        "{'a': 1}",
        "",
        "a text of theirs",
    ]
    assert (records[6]["logger"], shown[6]) == ("team.named", "a name of theirs")
    assert (records[7]["threadName"], shown[7]) == ("thread of theirs", "from there")
    assert shown[8].startswith("'%d frames' with ('no number',) cannot be shown: TypeError(")
    assert shown[9:11] == [f"A message of {name} cannot be shown: RuntimeError" for name in ("Raises", "str")]
    assert len(shown[11]) < 40_000
    assert " [... 968000 characters cut ...] " in shown[11]
    assert records[12]["traceback"].startswith("Stack (most recent call last):")
    assert records[13]["traceback"].endswith("ValueError: \\udc80")
    assert (shown[14], records[14]["traceback"]) == ("nothing was raised", "NoneType: None")
    assert (records[15]["logger"], shown[15]) == ("by.hand", "made")
    assert shown[16] == "of a logger that does not propagate"
    assert len(shown) == 17


# ---- in nobody's way -------------------------------------------------------------------------------------------------


def without_times(text):
    text = re.sub(r"^\d{4}-\S+ \S+ ", "", text, flags=re.MULTILINE)
    return re.sub(r"0x[0-9a-f]+", "0x0", text)


@pytest.mark.rabbitmq
@pytest.mark.parametrize("task", ["Good", "Bad", "Odd", "Configures", "Library"])
def test_the_console_shows_the_same_with_and_without(team, broker, task):
    """Nothing more, nothing less, in the same order, whatever handlers the team sets up."""
    outputs = [run(team, task, DKIST_ISB_LOGGING=value) for value in ("false", "true")]
    off, on = ([status, without_times(stdout), without_times(stderr)] for status, stdout, stderr in outputs)
    # The traceback of a failed formatting goes through the frames that logged it, and one of them is ours.
    frames = r'  File ".*log_intake.py", line \d+, in call_handlers_and_take\n.*\n(    [~^]+\n)?'
    assert re.sub(frames, "", on[2]) == re.sub(frames, "", off[2])
    assert on[:2] == off[:2]


def test_nothing_is_there_if_it_is_not_switched_on(team, monkeypatch):
    """No hook, no thread, no module of it."""
    program = """
import logging, sys, threading, team_tasks
before = logging.Logger.callHandlers
class Looks(team_tasks.TaskBase):
    def run(self):
        print(logging.Logger.callHandlers is before, threading.active_count(), logging.getLogger().handlers)
        print([name for name in sys.modules if ".isb" in name])
with Looks(1, "w", "1") as task:
    task()
"""
    for value in ("", "false", "0", "no"):
        process = start(team, None, program=program, DKIST_ISB_LOGGING=value)
        assert process.communicate(timeout=30)[0] == "True 1 []\n[]\n"


def test_nothing_heavy_is_imported_in_the_process_of_the_task(team):
    """What talks to the broker is in another process; here a handful of the standard library comes on top."""
    port = free_ports(1)[0]
    off, on = (
        set(run(team, "Imports", MESH_CONFIG=mesh_config(port), DKIST_ISB_LOGGING=value)[1].split())
        for value in ("no", "yes")
    )
    assert "logging" in off
    assert on - off <= {"_queue", "_struct", "queue", "struct"}


def test_nobody_waits_for_the_shipper(team):
    """It lives for a moment after the task, and holds neither the task's output nor a lock that the task inherited."""
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(peer(lambda connection: None))
        with (team / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            settings = {"MESH_CONFIG": mesh_config(port), "pass_fds": [lock.fileno()]}
            process, shipper = stack.enter_context(running(team, "Ticks", **settings))
        with (team / "lock").open("w") as lock:
            with pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (team / "enough").touch()
            process.communicate(timeout=20)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert is_alive(shipper)
        assert os.getsid(shipper) == shipper
        wait_until_dead([shipper], 8)


def answer_in_http(connection):
    # The first connection only looks whether anybody is there, and may be gone.
    with contextlib.suppress(OSError):
        connection.sendall(b"HTTP/1.1 400 no\r\n\r\n")


@pytest.mark.parametrize("way", ["refused", "silent", "http", "hangs up"])
def test_a_bus_that_cannot_be_used_costs_the_task_nothing_but_a_line(team, way):
    """The task does its work, one warning says how many records are missing and why, and the shipper is soon gone."""
    answers = {
        "silent": lambda connection: None,
        "http": answer_in_http,
        "hangs up": lambda connection: connection.close(),
    }
    reason = {"refused": "Connection refused", "silent": "does not answer"}.get(way, "interservice bus at")
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(peer(answers[way])) if way in answers else free_ports(1)[0]
        settings = {"MESH_CONFIG": mesh_config(port), "REASON": reason}
        process, shipper = stack.enter_context(running(team, "HearsOf", **settings))
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 0
        wait_until_dead([shipper], 10)
    [warning] = [line for line in stderr.splitlines() if "interservice bus" in line]
    total = int((team / "ticks").read_text()) + 8
    assert f"WARNING dkist_processing_core.isb.logs.task_log: {total} of {total} log records have not" in warning
    assert f"interservice bus at 127.0.0.1:{port}" in warning
    assert reason in warning


def test_settings_that_cannot_be_used_are_named(team):
    """The task goes on, and the warning says which variable is wrong."""
    process = start(team, "HearsOf", MESH_CONFIG="{", REASON="MESH_CONFIG")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "MESH_CONFIG is no JSON" in stderr
    assert "dropped" in stderr


@pytest.mark.rabbitmq
@pytest.mark.parametrize("is_bound", [True, False], ids=["bound", "not-bound"])
@pytest.mark.parametrize("way", ["403", "406"])
def test_what_may_not_be_declared_is_used_as_it_is(team, broker, received, way, is_bound):
    """Records go to a queue that somebody else has declared; if none takes them, the warning says what was refused."""
    connection = broker.connect()
    channel = connection.channel()
    channel.exchange_declare("master.direct.x", exchange_type="direct", durable=True)
    channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "classic", "x-max-length": 10_000})
    if is_bound:
        channel.queue_bind(QUEUE, "master.direct.x", ROUTING_KEY)
    connection.close()
    settings = {}
    if way == "403":
        broker.control("add_user", "writer", "secret")
        broker.control("set_permissions", "writer", "^$", ".*", "^$")
        settings = {"ISB_USERNAME": "writer", "ISB_PASSWORD": "secret"}
    try:
        process = start(team, "Ticks" if is_bound else "HearsOf", **settings, REASON="no queue")
        if is_bound:
            received.until(lambda records: len(records) > 50, 60)
            (team / "enough").touch()
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 0
        if is_bound:
            records = received.until_the_end()
            assert sequences(records) == list(range(1, len(records) + 1))
            assert "interservice bus" not in stderr
        else:
            total = int((team / "ticks").read_text()) + 8
            assert f"of {total} log records have not reached the interservice bus" in stderr
            refusal = {"403": "403 ACCESS_REFUSED", "406": "406 PRECONDITION_FAILED"}[way]
            assert (
                f"no queue is bound to 'master.direct.x' with 'task.log.m'; declaring it was refused: {refusal}"
                in stderr
            )
    finally:
        wait_until_nobody_sends(broker.mesh_config)
        if way == "403":
            broker.control("delete_user", "writer")


@pytest.mark.rabbitmq
def test_a_wrong_password_is_named(team, broker, monkeypatch):
    """With what to check, and without the password."""
    process = start(team, "HearsOf", ISB_PASSWORD="wr0ng", REASON="ISB_PASSWORD")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "check ISB_USERNAME, ISB_PASSWORD" in stderr
    assert "wr0ng" not in stderr


@pytest.mark.rabbitmq
def test_the_queue_is_of_the_type_of_the_settings(team, broker, received):
    """A consumer that declares the same exchange, queue and binding is not refused."""
    run(team, "Leaves", ISB_QUEUE_TYPE="quorum", ISB_EXCHANGE="other.direct.x")
    received.until_the_end()
    with contextlib.closing(broker.connect()) as connection:
        channel = connection.channel()
        channel.exchange_declare("other.direct.x", exchange_type="direct", durable=True)
        channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        channel.queue_bind(QUEUE, "other.direct.x", ROUTING_KEY)
        channel.exchange_delete("other.direct.x")


@pytest.mark.rabbitmq
def test_a_connection_that_breaks_is_made_anew(team, broker, received):
    """Records keep their order, none is lost, and only those that were on the way may come twice, with the same id."""
    cuts = iter([True])

    def cut(data):
        return None if b"tick 300" in data and next(cuts, False) else data

    with (
        relay(broker.port, to_broker=cut) as port,
        running(team, "Ticks", MESH_CONFIG=mesh_config(port)) as (process, _),
    ):
        received.until(lambda records: "tick 350" in texts(records), 40)
        (team / "enough").touch()
        assert process.wait(20) == 0
        assert "interservice bus" not in process.stderr.read()
        received.until_the_end()
    ids = [properties.message_id for properties in received.properties]
    first_come = list(dict.fromkeys(ids))
    assert [int(each.rpartition("-")[2]) for each in first_come] == list(range(1, len(first_come) + 1))
    assert len(ids) - len(first_come) < 200


@pytest.mark.rabbitmq
def test_a_broker_that_comes_back_gets_what_was_held(team, broker, received):
    """Records of the time while it was down arrive as well, in order."""
    with running(team, "Ticks") as (process, _):
        received.until(lambda records: len(records) > 20, 40)
        broker.stop()
        time.sleep(1)
        broker.start()
        time.sleep(1)
        before = len(received.records)
        received.until(lambda records: len(records) > before + 150, 60)
        (team / "enough").touch()
        assert process.wait(20) == 0
        records = received.until_the_end()
    distinct = list(dict.fromkeys(sequences(records)))
    assert distinct == list(range(1, len(distinct) + 1))
    assert not any(record["droppedRecords"] for record in records)


@pytest.mark.rabbitmq
def test_a_broker_that_is_low_on_disk_gets_each_record_once(team, broker, received):
    """It is waited for on the same connection, so nothing comes twice when it takes messages again."""
    with running(team, "Ticks") as (process, _):
        received.until(lambda records: len(records) > 20, 40)
        broker.control("set_disk_free_limit", "900000GB")
        try:
            time.sleep(8)
        finally:
            broker.control("set_disk_free_limit", "1MB")
        before = len(received.records)
        received.until(lambda records: len(records) > before + 200, 40)
        (team / "enough").touch()
        assert process.wait(20) == 0
        assert "interservice bus" not in process.stderr.read()
        records = received.until_the_end()
    assert sequences(records) == list(range(1, len(records) + 1))


@pytest.mark.rabbitmq
def test_a_broker_that_is_too_slow_is_told_how_much_it_missed(team, broker, received):
    """What cannot be sent in the time is dropped, and a record in its place says how much and why."""

    def slowly(data):
        time.sleep(len(data) / 200_000)
        return data

    with relay(broker.port, to_broker=slowly) as port:
        status, _, stderr = run(team, "Floods", MESH_CONFIG=mesh_config(port))
        assert status == 0
        records = received.until(lambda records: any(record["droppedRecords"] for record in records), 20)
        time.sleep(1)
        received.take()
        records = received.records
    assert "log records have not reached the interservice bus until now: more of them than can be sent" in stderr
    whole = [record for record in records if not record["droppedRecords"]]
    [gap] = [record for record in records if record["droppedRecords"]]
    assert sequences(whole) == list(range(1, len(whole) + 1))
    assert len(whole) + gap["droppedRecords"] == 30_000 + 8
    assert gap["sequence"] == 30_000 + 8
    assert gap["message"].endswith("log records of the task were dropped: the task ended before they could be sent")
    assert (gap["level"], gap["taskName"]) == ("WARNING", "Floods")


# ---- processes that die ----------------------------------------------------------------------------------------------


@pytest.mark.rabbitmq
def test_the_last_records_of_a_task_that_is_killed_arrive(team, received):
    """As when memory runs out: the shipper sends what it has, says that this is no end, and goes."""
    with running(team, "Stops") as (process, shipper):
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        records = received.until(lambda records: records and "its process was killed" in records[-1]["message"])
        wait_until_dead([shipper], 8)
    assert "last words" in texts(records)
    assert not any(map(is_end, records))
    assert sequences(records) == list(range(1, len(records) + 1))


@pytest.mark.rabbitmq
def test_a_task_whose_shipper_is_killed_goes_on(team, broker):
    """What was lost is counted in its log."""
    with running(team, "Ticks") as (process, shipper):
        time.sleep(1)
        os.kill(shipper, signal.SIGKILL)
        time.sleep(0.5)
        (team / "enough").touch()
        _, stderr = process.communicate(timeout=20)
    assert process.returncode == 0
    assert re.search(r"\d+ of \d+ log records have not reached .*: the process that sends them has ended", stderr)


@pytest.mark.rabbitmq
def test_a_shipper_that_is_stopped_does_not_hold_up_the_task(team, broker):
    """The end of the task waits for it in bounded time, and says that records are missing."""
    with running(team, "Ticks") as (process, shipper):
        os.kill(shipper, signal.SIGSTOP)
        try:
            (team / "enough").touch()
            _, stderr = process.communicate(timeout=20)
        finally:
            os.kill(shipper, signal.SIGKILL)
    assert process.returncode == 0
    assert "complete" in stderr


@pytest.mark.rabbitmq
def test_forked_children_neither_hang_nor_disturb(team, received):
    """Only the process of the task itself is heard; nothing of it is lost or mixed up."""
    assert run(team, "Forks")[0] == 0
    records = received.until_the_end()
    assert sequences(records) == list(range(1, len(records) + 1))
    assert len({record["processId"] for record in records}) == 1
    assert [text for text in texts(records) if text.startswith("parent")] == [
        f"parent {number}" for _, number in itertools.product(range(4), range(500))
    ]
    assert not any(text.startswith("child") for text in texts(records))


@pytest.mark.rabbitmq
def test_a_child_that_is_left_behind_does_not_keep_the_shipper(team, received):
    """It ends a moment after the task, although a forked process lives on."""
    process = start(team, "LeavesAChild")
    try:
        shipper = shipper_of(process.pid)
        assert process.wait(20) == 0
        received.until_the_end()
        wait_until_dead([shipper], 8)
    finally:
        end_group(process)


# ---- the parts -------------------------------------------------------------------------------------------------------


@pytest.fixture
def intake():
    """It listens as long as the test runs."""
    intake = LogIntake()
    intake.listen()
    yield intake
    intake.stop()


@pytest.fixture
def unseen():
    """A logger of which nothing is shown, not even by pytest."""
    logger = logging.Logger("unseen", logging.INFO)  # noqa: LOG001 - it has no parent
    logger.addHandler(logging.NullHandler())
    return logger


def record(msg="x", **facts):
    return logging.makeLogRecord({"name": "team", "levelno": 20, "msg": msg, **facts})


def taken_out(intake):
    return [each for load in intake.loads() for frame in load for each in unpacked_records(frame)]


@pytest.mark.parametrize("size", [10, 900, 31_000, 1_000_000])
def test_what_waits_in_the_process_of_the_task_is_bounded(intake, unseen, size):
    """However many records there are and however long, the oldest are dropped above a limit, and the gap shows it."""
    count = 3 * log_intake.WAITING_BYTES // min(size + 60, log_intake.LONG_TEXT)
    for number in range(count):
        unseen.info("%s %s", number, "x" * size)
    assert sum(len(frame.payload) for frame in intake._packed) <= log_intake.WAITING_BYTES
    assert len(intake._rows) <= log_intake.PACKED_RECORDS
    found = taken_out(intake)
    assert intake.total == count
    assert [each.sequence for each in found] == list(range(count - len(found) + 1, count + 1))
    assert 0 < len(found) < count


def test_the_pump_is_woken_before_anything_is_dropped(intake, unseen):
    """It may pause for longer than it takes to fill what can wait."""
    while intake.wakes.empty():
        unseen.info("x" * 900)
    assert [each.sequence for each in taken_out(intake)] == list(range(1, intake.total + 1))


def test_records_that_come_while_others_are_taken_out_are_left_for_the_next_time(intake, unseen):
    """Otherwise a task that floods its log would have to share the interpreter's lock for each of them."""
    unseen.info("first")
    for load in intake.loads():
        assert [each.message for frame in load for each in unpacked_records(frame)] == ["first"]
        unseen.info("second")
    assert [each.message for each in taken_out(intake)] == ["second"]


def test_records_of_many_threads_are_numbered_without_a_gap(intake, unseen):
    """Each is there once, and those of one thread are in their order."""

    def work(number):
        for each in range(2000):
            unseen.info("%s %s", number, each)

    threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
    found = []
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        found += taken_out(intake)
    for thread in threads:
        thread.join()
    found += taken_out(intake)
    assert [each.sequence for each in found] == list(range(1, 16_001))
    for number in range(8):
        assert [each.message for each in found if each.message.startswith(f"{number} ")] == [
            f"{number} {each}" for each in range(2000)
        ]


def test_a_message_that_the_console_has_made_is_not_made_again(intake, unseen):
    """It is taken from the record, unless a formatter left nothing useful there."""
    unseen.handle(record("of the record", message="of the console"))
    unseen.handle(record({"a": 1}, message=""))
    unseen.handle(record({"a": 1}, message={"a": 2}))
    shown = [json.loads(body(each, {}))["message"] for each in taken_out(intake)]
    assert shown == ["of the console", "{'a': 1}", "{'a': 2}"]


def test_the_intake_gets_what_no_handler_gets_and_disturbs_none(monkeypatch):
    """It is no handler of a logger, and is gone without a trace, or silent where something came on top of it."""
    intake = LogIntake()
    alone = logging.getLogger("alone")
    before = logging.Logger.callHandlers
    intake.listen()
    assert alone.handlers == []
    alone.warning("one")
    intake.stop()
    alone.warning("two")
    assert logging.Logger.callHandlers is before
    intake.listen()
    ours = logging.Logger.callHandlers
    monkeypatch.setattr(logging.Logger, "callHandlers", lambda *arguments: ours(*arguments))  # noqa: PLW0108
    alone.warning("three")
    intake.stop()
    alone.warning("four")
    assert [each.message for each in taken_out(intake)] == ["one", "three"]


def frame(first, count=1, text="x"):
    return packed_records(first, [(0.0, 20, "team", text, "MainThread", None, None)] * count)


def taken(outbox):
    return [json.loads(message.body) for message in iter(outbox.take, None)]


def test_the_outbox_drops_the_oldest_and_says_so():
    """One message stands in the place of all that are missing, and has the number of the last of them."""
    outbox = Outbox(most_records=10)
    for first in range(1, 31, 5):
        outbox.add(frame(first, 5))
    assert outbox.status()[:3] == (0, 10, 20)
    outbox.reason = "it rains"
    records = taken(outbox)
    assert sequences(records) == [20, *range(21, 31)]
    assert records[0]["droppedRecords"] == 20
    assert outbox.status()[:3] == (0, 10, 20)


def test_the_outbox_is_bounded_in_bytes():
    """Few long records are too much as well."""
    outbox = Outbox(most_bytes=10_000)
    for first in range(1, 101):
        outbox.add(frame(first, text="x" * 1000))
    assert outbox.status()[:3] == (0, 9, 91)


def test_the_outbox_counts_what_was_lost_before_it():
    """Gaps in the numbers, at the end as well, are dropped records."""
    outbox = Outbox()
    outbox.add(frame(1, 2))
    outbox.add(frame(11, 2))
    outbox.end(20)
    records = taken(outbox)
    assert sequences(records) == [1, 2, 10, 11, 12, 20]
    assert [each["droppedRecords"] for each in records] == [None, None, 8, None, None, 8]
    assert outbox.status()[:3] == (0, 4, 16)
    assert not outbox.has_more


def test_what_was_not_confirmed_is_sent_again_before_all_others():
    """In its order."""
    outbox = Outbox()
    outbox.add(frame(1, 5))
    sent = [outbox.take() for _ in range(4)]
    outbox.confirm(sent[0])
    outbox.take_again(sent[1:])
    assert sequences(taken(outbox)) == [2, 3, 4, 5]
    assert outbox.status()[:3] == (1, 4, 0)
