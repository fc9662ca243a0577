"""The log of a task on the interservice bus: a real RabbitMQ, real processes, and peers that misbehave."""

import contextlib
import itertools
import json
import logging
import os
import re
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pika
import pytest
from support.logs import QUEUE, ROUTING_KEY, Received, end_group, is_end, run, start, texts, write_tasks
from support.mesh import mesh_config
from support.peers import peer, relay
from support.ports import free_ports
from support.processes import wait_for
from support.rabbitmq import RabbitMQ
from support.releases import REPOSITORY
from support.waiting import PATIENCE_SECONDS, assert_takes_at_most

from dkist_processing_core.common.log_records import listen
from dkist_processing_core.isb.logs import buffer as log_buffer
from dkist_processing_core.isb.logs.buffer import Buffer
from dkist_processing_core.isb.logs.record import ROW_BYTES, Encoder, size_of, truncate
from dkist_processing_core.isb.logs.sender import Sender


@pytest.fixture
def team(tmp_path):
    """A folder with a team's tasks in it."""
    write_tasks(tmp_path)
    return tmp_path


@pytest.fixture
def received(broker):
    return Received(broker)


@contextlib.contextmanager
def running(team, task, **environment):
    """A task that runs until the body has ended."""
    process = start(team, task, **environment)
    try:
        wait_for(team / "running")
        yield process
    finally:
        end_group(process)


def sequences(records):
    return [record["sequence"] for record in records]


def test_each_record_arrives_once_and_in_order(team, received):
    """Numbers have no gap, every record says of which task it is, and what the team logged is among them."""
    began = datetime.now(UTC)
    context = {"AIRFLOW_CTX_DAG_RUN_ID": "manual__1", "AIRFLOW_CTX_TRY_NUMBER": "3", "DKIST_ENVIRONMENT_IDENTITY": "0a"}
    status, _, stderr = run(team, "Good", **context)
    assert status == 0
    assert "did not reach the interservice bus" not in stderr
    records = received.until_the_end()
    assert sequences(records) == list(range(1, len(records) + 1))
    facts = {
        "schemaVersion": 1,
        "recipeRunId": 42,
        "workflowName": "w",
        "workflowVersion": "1",
        "taskName": "Good",
        "environmentIdentity": "0a",
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


def test_events_show_the_life_cycle_of_a_task(team, received):
    """Started, each phase begun and ended, succeeded; with durations where something has ended; each once."""
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


def test_properties_are_those_of_the_documentation(team, received):
    """Persistent lines of JSON; the message id is that of the run of the task and the number of the first record."""
    run(team, "LastsLong")
    received.until_the_end()
    for properties in received.properties:
        assert (properties.content_type, properties.content_encoding) == ("application/x-ndjson", "UTF-8")
        assert (properties.app_id, properties.type) == ("dkist-processing-core", "task.log")
        assert properties.delivery_mode == pika.DeliveryMode.Persistent.value
    ids = [properties.message_id for properties in received.properties]
    [run_id] = {each.partition("-")[0] for each in ids}
    assert re.fullmatch("[0-9a-f]{32}", run_id)
    firsts = [lines[0] for lines in received.lines]
    assert len(firsts) > 1
    assert ids == [f"{run_id}-{first['sequence']}" for first in firsts]
    moments = [int(datetime.fromisoformat(first["timestamp"]).timestamp()) for first in firsts]
    assert [properties.timestamp for properties in received.properties] == moments


def test_a_message_carries_several_records(team, received):
    """Up to 200 records and some 100 KB, each on a line of its own, whatever characters are in it."""
    run(team, "Floods")
    received.until_the_end()
    counts = [len(lines) for lines in received.lines]
    assert sum(counts) == 30_008
    assert max(counts) <= 200
    assert max(len(body) for _, body in received.messages) < 200_000
    assert all(body.endswith(b"}\n") for _, body in received.messages)


def test_every_key_is_documented(team, received):
    """The page about it names those that are sent, and no other."""
    run(team, "Good")
    keys = set(received.until_the_end()[0])
    page = (REPOSITORY / "docs" / "reference" / "logging.rst").read_text()
    table = page.partition("What a record says")[2].partition("list-table:: Events")[0]
    assert set(re.findall(r"^   \* - ``(\w+)``", table, re.MULTILINE)) == keys


@pytest.mark.parametrize(
    ("task", "text", "last"),
    [("Bad", "RuntimeError: the flat is missing", "failed"), ("Leaves", None, "succeeded")],
    ids=["raises", "sys.exit(0)"],
)
def test_the_last_event_says_how_the_task_ended(team, received, task, text, last):
    """A failure comes with its traceback and the duration; leaving with exit status 0 is a success."""
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


def test_a_task_that_is_terminated_says_so(team, received):
    """SIGTERM to its process group ends the task in order, with its log."""
    with running(team, "Stops") as process:
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 143
    end = received.until_the_end()[-1]
    assert (end["event"], end["message"].rpartition(": ")[2]) == ("failed", "143")
    assert "Terminated" in end["traceback"]


def test_events_are_sent_whatever_level_is_shown(team, received):
    """DKIST_LOG_LEVEL chooses among what the team logs."""
    assert run(team, "Good", DKIST_LOG_LEVEL="WARNING")[0] == 0
    records = received.until_the_end()
    assert texts(each for each in records if not each["event"]) == ["from a thread"]
    assert len(records) == 9
    assert run(team, "Good", DKIST_LOG_LEVEL="DEBUG")[0] == 0
    again = received.until(lambda records: sum(map(is_end, records)) == 2)
    assert "a debug record" in texts(again)


def test_a_task_that_is_called_without_with_sends_its_log_as_well(team, received):
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
    assert "afterwards" in run(team, None, program=program).check(stdout="").stderr
    records = received.until_the_end()
    assert (records[0]["event"], records[-1]["event"]) == ("started", "failed")
    assert "afterwards" not in texts(records)


def test_a_task_that_cannot_be_entered_sends_its_log(team, received):
    """No __exit__ follows an __enter__ that raises; what was logged until then arrives."""
    assert run(team, "Enters")[0] == 1
    assert "entered" in texts(received.until(lambda records: records))


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
    assert shown[8].startswith("'%d frames' cannot be formatted: TypeError: %d format: ")
    assert shown[9] == "A message of Raises cannot be formatted: RuntimeError: no text"
    assert shown[10] == "'with %s' cannot be formatted: RuntimeError: no text"
    assert len(shown[11]) < 40_000
    assert " [... 968000 characters truncated ...] " in shown[11]
    assert records[12]["traceback"].startswith("Stack (most recent call last):")
    assert records[13]["traceback"].endswith("ValueError: \\udc80")
    assert (shown[14], records[14]["traceback"]) == ("nothing was raised", "NoneType: None")
    assert (records[15]["logger"], shown[15]) == ("by.hand", "made")
    assert shown[16] == "of a logger that does not propagate"
    assert len(shown) == 17


def without_times(text):
    text = re.sub(r"^\d{4}-\S+ \S+ ", "", text, flags=re.MULTILINE)
    return re.sub(r"0x[0-9a-f]+", "0x0", text)


@pytest.mark.parametrize("task", ["Good", "Bad", "Odd", "Configures", "Library"])
def test_the_console_shows_the_same_with_and_without(team, broker, task):
    """Nothing more, nothing less, in the same order, whatever handlers the team sets up."""
    outputs = [run(team, task, DKIST_ISB_LOGGING=value) for value in ("false", "true")]
    off, on = ([status, without_times(stdout), without_times(stderr)] for status, stdout, stderr in outputs)
    # The traceback of a failed formatting goes through the frames that logged it, and one of them is ours.
    frames = r'  File ".*log_records.py", line \d+, in _call_handlers_and_listeners\n.*\n(    [~^]+\n)?'
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
        run(team, None, program=program, DKIST_ISB_LOGGING=value).check(stdout="True 1 []\n[]\n")


def test_nothing_heavy_is_imported_while_nothing_answers(team):
    """A broker that is away costs the task a handful of modules of the standard library."""
    port = free_ports(1)[0]
    off, on = (
        set(run(team, "Imports", MESH_CONFIG=mesh_config(port), DKIST_ISB_LOGGING=value)[1].split())
        for value in ("no", "yes")
    )
    assert "logging" in off
    assert not {"pika", "pydantic", "ssl", "asyncio"} & on
    assert on - off <= set(sys.stdlib_module_names)
    assert len(on - off) < 20


def answer_in_http(connection):
    # The first connection only looks whether anybody is there, and may be gone.
    with contextlib.suppress(OSError):
        connection.sendall(b"HTTP/1.1 400 no\r\n\r\n")


@pytest.mark.usefixtures("production_bounds")
@pytest.mark.parametrize("way", ["refused", "silent", "http", "hangs up"])
def test_a_bus_that_cannot_be_used_costs_the_task_nothing_but_a_line(team, way):
    """The task does its work and ends soon, and one warning says how many records are missing and why."""
    answers = {
        "silent": lambda connection: None,
        "http": answer_in_http,
        "hangs up": lambda connection: connection.close(),
    }
    fault = {"refused": "Connection refused", "silent": "does not answer"}.get(way, "interservice bus at")
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(peer(answers[way])) if way in answers else free_ports(1)[0]
        stderr = ""

        def attempt():
            nonlocal stderr
            (team / "ticks").unlink(missing_ok=True)
            process = start(team, "MeetsFault", MESH_CONFIG=mesh_config(port), FAULT=fault)
            wait_for(team / "ticks")
            began = time.monotonic()
            _, stderr = process.communicate(timeout=PATIENCE_SECONDS)
            assert process.returncode == 0
            return time.monotonic() - began

        assert_takes_at_most(4, attempt)
    [warning] = [line for line in stderr.splitlines() if "interservice bus" in line]
    total = int((team / "ticks").read_text()) + 8
    assert f"WARNING dkist_processing_core.isb.logs.task_log: {total} of {total} log records did not reach" in warning
    assert f"interservice bus at 127.0.0.1:{port}" in warning
    assert fault in warning


@pytest.mark.usefixtures("production_bounds")
@pytest.mark.parametrize("task", ["Good", "Floods"])
@pytest.mark.parametrize("way", ["refused", "silent"])
def test_the_end_of_a_task_is_held_up_for_at_most_three_seconds(team, way, task):
    """Whatever the broker does, and however much is left to send; by nothing if nobody listens."""
    program = """
import sys, time, team_tasks
with getattr(team_tasks, sys.argv[1])(1, "w", "1") as task:
    task()
    began = time.monotonic()
print(time.monotonic() - began)
""".replace("sys.argv[1]", repr(task))
    with peer(lambda connection: None) as silent:
        port = silent if way == "silent" else free_ports(1)[0]

        def attempt():
            done = run(team, None, program=program, MESH_CONFIG=mesh_config(port)).check()
            assert "log records did not reach the interservice bus" in done.stderr
            return float(done.stdout)

        assert_takes_at_most(3.2 if way == "silent" else 0.5, attempt)


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({"MESH_CONFIG": "{", "FAULT": "MESH_CONFIG"}, "MESH_CONFIG is not JSON"),
        ({"ISB_PASSWORD": "wr0ng", "FAULT": "ISB_PASSWORD"}, "check ISB_USERNAME, ISB_PASSWORD"),
    ],
    ids=["malformed", "password"],
)
def test_settings_that_cannot_be_used_are_named(team, broker, settings, shown):
    """The task goes on, and the warning says which variable is wrong, without the password."""
    status, _, stderr = run(team, "MeetsFault", **settings)
    assert (status, shown in stderr, "wr0ng" in stderr) == (0, True, False), stderr


def test_a_queue_of_another_type_is_used_as_it_is(team, received):
    """Records go to what somebody else has declared and bound."""
    for kind in ("quorum", "classic"):
        done = run(team, "Leaves", ISB_QUEUE_TYPE=kind).check()
        assert "did not reach the interservice bus" not in done.stderr
    received.until(lambda records: sum(map(is_end, records)) == 2)


def test_what_may_not_be_declared_is_said_if_no_queue_takes_the_records(team, broker):
    """The warning has their number, and what was refused."""
    with broker.no_right_to_declare(QUEUE):
        done = run(team, "MeetsFault", FAULT="no queue").check()
    total = int((team / "ticks").read_text()) + 8
    assert f"of {total} log records did not reach the interservice bus" in done.stderr
    assert "no queue takes the message (312 NO_ROUTE); 403 ACCESS_REFUSED" in done.stderr


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


def test_a_connection_that_breaks_is_made_anew(team, broker, received):
    """Records keep their order, none is lost, and only those that were on the way may come twice, with the same id."""
    cuts = iter([True])

    def cut(data):
        return None if b"tick 300" in data and next(cuts, False) else data

    with relay(broker.port, to_broker=cut) as port, running(team, "Ticks", MESH_CONFIG=mesh_config(port)) as process:
        received.until(lambda records: "tick 350" in texts(records))
        (team / "enough").touch()
        assert process.wait(PATIENCE_SECONDS) == 0
        assert "did not reach the interservice bus" not in process.communicate()[1]
        received.until_the_end()
    distinct = list(dict.fromkeys(sequences(received.records)))
    assert distinct == list(range(1, len(distinct) + 1))
    assert len(received.records) - len(distinct) < 200
    bodies = {}
    for properties, body in received.messages:
        assert bodies.setdefault(properties.message_id, body) == body


@pytest.mark.parametrize(("away", "seconds"), [(RabbitMQ.stopped, 1), (RabbitMQ.low_on_disk, 8)], ids=["down", "disk"])
def test_a_broker_that_comes_back_gets_what_was_held(team, broker, received, away, seconds):
    """In order, on the same connection if it has lasted; only what was on the way when it broke may come twice."""
    with running(team, "Ticks") as process:
        received.until(lambda records: len(records) > 20)
        with away(broker):
            time.sleep(seconds)
        before = len(received.records)
        received.until(lambda records: len(records) > before + 200)
        (team / "enough").touch()
        assert process.wait(PATIENCE_SECONDS) == 0
        assert "did not reach the interservice bus" not in process.communicate()[1]
        records = received.until_the_end()
    found = sequences(records)
    distinct = list(dict.fromkeys(found)) if away is RabbitMQ.stopped else found
    assert distinct == list(range(1, len(distinct) + 1))
    assert not any(record["droppedRecords"] for record in records)


def test_a_broker_that_is_too_slow_costs_bounded_time(team, broker, received):
    """What cannot be sent in the time at the end is missing, and the log of the task says how much."""

    def slowly(data):
        time.sleep(len(data) / 200_000)
        return data

    with relay(broker.port, to_broker=slowly) as port:
        status, _, stderr = run(team, "Floods", MESH_CONFIG=mesh_config(port), DKIST_END_SECONDS="10")
        assert status == 0
    found = re.search(r"(\d+) of 30008 log records did not reach the interservice bus: more were logged than", stderr)
    assert 0 < int(found[1]) < 30_008


def test_a_gap_is_reported_in_its_place(broker, received, monkeypatch, unseen):
    """One record stands in the place of those that were dropped, with their number, and that of the last of them."""
    monkeypatch.setattr(log_buffer, "MOST_RECORDS", 1000)
    buffer = Buffer()
    sender = Sender(buffer, {"taskName": "T"})
    stop = listen(buffer.add_record)
    for number in range(1, 4001):
        unseen.info("record %d", number)
    stop()
    sender.start()
    sender.close()
    assert sender.confirmed == 1000
    gap, *whole = received.until(lambda records: len(records) == 1001)
    assert (gap["sequence"], gap["droppedRecords"], gap["level"], gap["taskName"]) == (3000, 3000, "WARNING", "T")
    assert gap["message"] == "3000 log records of the task were dropped: more were logged than could be sent"
    assert [(each["sequence"], each["message"]) for each in whole] == [
        (number, f"record {number}") for number in range(3001, 4001)
    ]


def test_a_task_that_is_killed_leaves_what_it_logged_before(team, received):
    """As when memory runs out: all but the tail has been sent, and no end."""
    with running(team, "Stops") as process:
        records = received.until(lambda records: "about to wait" in texts(records))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    received.take()
    assert not any(map(is_end, received.records))
    assert sequences(records) == list(range(1, len(records) + 1))


def test_signal_handlers_that_log_neither_hang_nor_lose_records(team, received):
    """They interrupt the addition of a record at any point."""
    assert run(team, "Interrupted")[0] == 0
    records = received.until_the_end()
    assert sequences(records) == list(range(1, len(records) + 1))
    assert texts(records).count("handler") == int((team / "handled").read_text()) > 0
    assert [text for text in texts(records) if text.startswith("loop")] == [
        f"loop {number}" for number in range(20_000)
    ]


def test_a_fork_during_the_import_of_the_client_does_not_hang(team, broker):
    """A child that needs a module that another thread was importing would wait for it forever."""
    assert run(team, "ForksEarly")[0] == 0


def test_forked_children_neither_hang_nor_disturb(team, received):
    """Only the records of the task's own process are sent; none of them is lost or mixed up."""
    assert run(team, "Forks")[0] == 0
    records = received.until_the_end()
    assert sequences(records) == list(range(1, len(records) + 1))
    assert len({record["processId"] for record in records}) == 1
    assert [text for text in texts(records) if text.startswith("parent")] == [
        f"parent {number}" for _, number in itertools.product(range(4), range(500))
    ]
    assert not any(text.startswith("child") for text in texts(records))


@pytest.fixture
def buffer():
    """It is filled as long as the test runs."""
    buffer = Buffer()
    stop = listen(buffer.add_record)
    yield buffer
    stop()


@pytest.fixture
def unseen():
    """A logger of which nothing is shown, not even by pytest."""
    logger = logging.Logger("unseen", logging.INFO)  # noqa: LOG001 - it has no parent
    logger.addHandler(logging.NullHandler())
    return logger


def record(msg="x", **values):
    return logging.makeLogRecord({"name": "team", "levelno": 20, "msg": msg, **values})


def taken_out(buffer):
    """Take everything out; the messages."""
    return [message for _, message, _ in buffer.take(10_000_000, 1 << 40)[2]]


@pytest.mark.parametrize("size", [10, 900, 31_000, 1_000_000])
def test_what_waits_in_the_process_of_the_task_is_bounded(buffer, unseen, monkeypatch, size):
    """However many records there are and however long, the oldest are dropped above a limit, and counted."""
    monkeypatch.setattr(log_buffer, "MOST_BYTES", 2 << 17)
    count = 3 * (2 << 17) // min(size, 32_000)
    for number in range(count):
        unseen.info("%s %s", number, "x" * size)
    first, missing, rows = buffer.take(10_000_000, 1 << 40)
    assert sum(len(message) for _, message, _ in rows) <= 2 << 17
    assert buffer.total == count
    assert (missing, len(rows)) == (first - 1, count - missing)
    assert [int(message.partition(" ")[0]) for _, message, _ in rows] == list(range(missing, count))
    assert 0 < len(rows) < count


def test_records_of_many_threads_are_numbered_without_a_gap(buffer, unseen):
    """Each is there once, and those of one thread are in their order."""

    def work(number):
        for each in range(2000):
            unseen.info("%s %s", number, each)

    found = []
    with ThreadPoolExecutor(8) as pool:
        at_work = [pool.submit(work, number) for number in range(8)]
        while not all(each.done() for each in at_work):
            found += taken_out(buffer)
    found += taken_out(buffer)
    assert len(found) == buffer.total == 16_000
    for number in range(8):
        assert [each for each in found if each.startswith(f"{number} ")] == [f"{number} {each}" for each in range(2000)]


def test_what_was_refused_is_reported_before_the_next_records(buffer, unseen):
    """Its number comes once, with records, so that it stands in its place."""
    unseen.info("one")
    assert buffer.take(10, 1000)[:2] == (1, 0)
    buffer.count_as_missing(1)
    assert buffer.take(10, 1000) == (2, 0, [])
    unseen.info("two")
    unseen.info("three")
    assert buffer.take(1, 1000)[:2] == (2, 1)
    assert buffer.take(1, 1000)[:2] == (3, 0)


def test_a_message_that_the_console_has_made_is_not_made_again(buffer, unseen):
    """It is taken from the record, unless a formatter left nothing useful there."""
    unseen.handle(record("of the record", message="of the console"))
    unseen.handle(record({"a": 1}, message=""))
    unseen.handle(record({"a": 1}, message={"a": 2}))
    assert taken_out(buffer) == ["of the console", "{'a': 1}", "{'a': 2}"]


def test_what_is_logged_about_events_is_not_added(buffer, unseen):
    """`TaskBase` logs them for people; they are sent as events already."""
    unseen.info("started", extra={"dkist_listened": True})
    unseen.info("another")
    assert taken_out(buffer) == ["another"]


def test_a_record_in_which_everything_is_odd_is_a_line_of_json(buffer, unseen):
    """Nothing that is in a record keeps it, or others, from being sent."""
    odd = {"exc_info": 7, "levelname": [], "name": {}, "threadName": [1], "created": "now", "args": 7}
    for name, value in odd.items():
        unseen.handle(record("%s", **{name: value}))
    unseen.info("plain \udc80")
    sent = [json.loads(Encoder({}).line(1, row)) for row in buffer.take(10, 10_000)[2]]
    assert texts(sent) == ["A log record could not be read: TypeError", *["%s"] * 4, "7", "plain \\udc80"]
    assert (sent[1]["level"], sent[2]["logger"], sent[3]["threadName"]) == ("[]", "{}", "[1]")


def test_a_line_has_the_time_of_its_record():
    """To the microsecond; where that is no time of a calendar, it is the time of sending."""

    def sent(created):
        row = (created, "x", (20, "INFO", "team", "MainThread", None, None))
        return datetime.fromisoformat(json.loads(Encoder({}).line(1, row))["timestamp"])

    latest = datetime(9999, 1, 1, tzinfo=UTC)
    for moment in (datetime(1970, 1, 1, 0, 0, 0, 500_001, UTC), latest - timedelta(seconds=1)):
        assert sent(moment.timestamp()) == moment
    for odd in ("now", 0, -1, latest.timestamp(), float("inf"), float("nan")):
        assert abs(sent(odd) - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_long_text_keeps_its_beginning_and_its_end():
    """With a note of how much is missing; one that is just short enough stays as it is."""
    beginning, end = "a" * 24_000, "b" * 8_000
    assert truncate(beginning + end) == beginning + end
    assert truncate(f"{beginning}---{end}") == f"{beginning} [... 3 characters truncated ...] {end}"


@pytest.mark.parametrize("text", [None, "traceback"])
def test_the_limit_of_memory_counts_all_long_texts(text):
    """Those of the message and of the traceback."""
    row = (0.5, "message", (20, "INFO", "team", "MainThread", text, ("failed", None, None)))
    assert size_of(row) == ROW_BYTES + len("message") + len(text or "")
