"""Everything that can be wrong with the broker while a failure is reported: nothing is lost, nothing doubled."""

import contextlib
import json
import logging
import re
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from logging.handlers import QueueHandler
from queue import SimpleQueue

import pytest
from support.command_line import run_command, with_mounts_of_its_own
from support.mesh import mesh_config
from support.messages import QUEUE
from support.peers import BASIC_PUBLISH, peer, relay, swallowing
from support.ports import free_ports
from support.rabbitmq import RabbitMQ

from dkist_processing_core.failure_callback import chat_ops_notification
from dkist_processing_core.isb import spool
from dkist_processing_core.isb.pending import send_pending

pytestmark = pytest.mark.rabbitmq

EXCHANGE = "master.direct.x"
# Method frame basic.ack (class 60, method 80) with the delivery tag 3; 1 and 2 are those of the probes.
BASIC_ACK_OF_MESSAGE = b"\x00\x3c\x00\x50" + (3).to_bytes(8, "big")


@contextlib.contextmanager
def settings(**values):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield


@contextlib.contextmanager
def bus_at(place):
    """Let the settings name a port that a context manager gives."""
    with place as port, settings(MESH_CONFIG=mesh_config(port)):
        yield


def nobody_listens(broker):
    return bus_at(contextlib.nullcontext(free_ports(1)[0]))


def silent(broker):
    return bus_at(peer(lambda connection: None))


def cut_off(broker):
    """Whatever is published ends the connection instead of reaching the broker."""
    return bus_at(relay(broker.port, to_broker=lambda data: None if BASIC_PUBLISH in data else data))


@contextlib.contextmanager
def queue_of_another_type(broker):
    """The queue is there with another type, and nothing is bound to it."""
    with channel_of(broker) as channel:
        channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    with no_permission_to_declare(broker):
        yield
    broker.forget(QUEUE)


@contextlib.contextmanager
def exchange_of_another_type(broker):
    with channel_of(broker) as channel:
        channel.exchange_declare(EXCHANGE, exchange_type="topic", durable=True)
    with no_permission_to_declare(broker):
        yield
    broker.forget(QUEUE)


@contextlib.contextmanager
def no_permission_to_declare(broker):
    """A user that may publish but not declare."""
    broker.control("add_user", "publisher", "secret")
    broker.control("set_permissions", "publisher", "^$", ".*", "^$")
    try:
        with settings(ISB_USERNAME="publisher", ISB_PASSWORD="secret"):
            yield
    finally:
        broker.control("delete_user", "publisher")


@contextlib.contextmanager
def nothing_bound_to_the_exchange(broker):
    """The exchange is there, and no queue; a message is unroutable."""
    with channel_of(broker) as channel:
        channel.exchange_declare(EXCHANGE, exchange_type="direct", durable=True)
    with no_permission_to_declare(broker):
        yield


@contextlib.contextmanager
def channel_of(broker):
    with contextlib.closing(broker.connect()) as connection:
        yield connection.channel()


def report_failure():
    """Let Airflow's callback report a failure; return its message."""
    return chat_ops_notification({"run_id": "manual__1"}, "w", "1", "T")


CAUSES = {
    "stopped": (RabbitMQ.stopped, "ConnectionRefusedError"),
    "nobody listens": (nobody_listens, "ConnectionRefusedError"),
    "packets are swallowed": (lambda _: bus_at(swallowing()), "[Tt]imed out"),
    "never speaks": (silent, "did not answer as a broker does before the time limit"),
    "dies before it has the message": (cut_off, "StreamLostError"),
    "wrong password": (lambda _: settings(ISB_PASSWORD="wr0ng"), "ACCESS_REFUSED.*check ISB_USERNAME, ISB_PASSWORD"),
    "no virtual host": (
        lambda _: settings(DKIST_ISB_VIRTUAL_HOST="/missing"),
        "vhost /missing not found.*check DKIST_ISB_VIRTUAL_HOST",
    ),
    "queue of another type": (queue_of_another_type, "404 NOT_FOUND - no exchange.*check ISB_EXCHANGE"),
    "exchange of another type": (exchange_of_another_type, "no queue takes the message.*403 ACCESS_REFUSED"),
    "no permission to declare": (no_permission_to_declare, "404 NOT_FOUND - no exchange.*403 ACCESS_REFUSED"),
    "nothing bound": (nothing_bound_to_the_exchange, "no queue takes the message.*NO_ROUTE.*403 ACCESS_REFUSED"),
    "low on disk": (RabbitMQ.low_on_disk, "it blocks publishers .low on disk."),
    "malformed configuration": (
        lambda _: settings(MESH_CONFIG='{"interservice-bus": 3}'),
        "MESH_CONFIG has no valid address for 'interservice-bus'.*must look like",
    ),
}


@pytest.mark.parametrize(("cause", "reason"), CAUSES.values(), ids=CAUSES)
def test_a_message_is_spooled_and_sent_once_the_cause_is_removed(broker, caplog, cause, reason):
    """Sent one, confirmed none, in the spool one, delivered one; the log says why."""
    with cause(broker), caplog.at_level(logging.WARNING):
        message = report_failure()
        pending = [each.envelope.message_id for each in spool.pending()]
    assert pending == [message.message_id]
    [record] = [each for each in caplog.records if each.getMessage().startswith("Failure message")]
    assert record.levelname == "WARNING"
    assert re.search(reason, record.getMessage(), re.DOTALL), record.getMessage()
    report = send_pending()
    assert (len(report.sent), report.pending) == (1, [])
    assert list(spool.pending()) == []
    assert [properties.message_id for properties, _ in broker.take_all(QUEUE)] == [message.message_id]


def test_a_confirmation_that_is_lost_gives_a_duplicate_with_the_same_id(broker):
    """The broker dies after it has stored the message: it is sent again, and a consumer can drop the duplicate."""
    with contextlib.ExitStack() as stack:

        def keep_back(data):
            return None if BASIC_ACK_OF_MESSAGE in data else data

        port = stack.enter_context(relay(broker.port, to_client=keep_back))
        stack.enter_context(settings(MESH_CONFIG=mesh_config(port)))
        message = report_failure()
    assert len(list(spool.pending())) == 1
    assert len(send_pending().sent) == 1
    assert {properties.message_id for properties, _ in broker.take_all(QUEUE)} == {message.message_id}


def test_the_next_message_that_succeeds_sends_the_pending_ones(broker):
    """Without anybody asking for it, the oldest first after the new one."""
    with nobody_listens(broker):
        first = report_failure()
        second = chat_ops_notification({"run_id": "manual__2"}, "w", "1", "T")
    third = chat_ops_notification({"run_id": "manual__3"}, "w", "1", "T")
    assert list(spool.pending()) == []
    ids = [properties.message_id for properties, _ in broker.take_all(QUEUE)]
    assert ids == [third.message_id, first.message_id, second.message_id]


def test_a_thousand_failures_while_the_broker_comes_and_goes(broker, monkeypatch):
    """Five times stopped and started; each message is in the queue at the end, under an id of its own."""
    # Not by caplog, with which a failure of this test would show the warnings of all of them.
    records = SimpleQueue()
    logger = logging.getLogger("dkist_processing_core")
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [QueueHandler(records)])
    contexts = ({"run_id": f"run{number}"} for number in range(1000))
    with ThreadPoolExecutor(24) as callbacks:
        running = [callbacks.submit(chat_ops_notification, each, "w", "1", "T") for each in contexts]
        for _ in range(5):
            time.sleep(1)
            broker.stop()
            time.sleep(6)
            broker.start()
        messages = [each.result() for each in running]
    spooled = sum("It is spooled in" in records.get().getMessage() for _ in range(records.qsize()))
    report = send_pending()
    ids = [properties.message_id for properties, _ in broker.take_all(QUEUE)]
    print(
        f"{len(messages)} reported, {spooled} of them spooled first, "
        f"{len(report.sent)} sent at the end, {len(ids)} arrived"
    )
    assert spooled > 0, "the broker was never away for long enough to prove anything"
    assert len({message.message_id for message in messages}) == 1000
    assert set(ids) == {message.message_id for message in messages}
    assert list(spool.pending()) == []


REPORT_ON_A_FULL_DISK = """
    import logging, subprocess, sys
    from pathlib import Path

    folder = Path(sys.argv[1])
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)], check=True)
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1024))
        except OSError:
            pass
    from dkist_processing_core.failure_callback import chat_ops_notification

    logging.basicConfig(level=logging.WARNING)
    chat_ops_notification({"run_id": "manual__1"}, "w", "1", "T")
    files = {each.name for each in folder.glob("*") if each.is_file()}
    print("left behind:", sorted(files - {".dkist-isb-spool"}))
"""


def test_a_message_that_finds_the_disk_full_goes_to_the_log(tmp_path):
    """All of it is there, and no half of a file is left in the folder."""
    [port] = free_ports(1)
    folder = tmp_path / "full"
    command = [*with_mounts_of_its_own(), sys.executable, "-c", textwrap.dedent(REPORT_ON_A_FULL_DISK), folder]
    done = run_command(*command, MESH_CONFIG=mesh_config(port), DKIST_ISB_SPOOL=folder).check()
    [line] = [each for each in done.stderr.splitlines() if "could neither be published" in each]
    assert "No space left on device" in line
    body = json.loads(line[line.index("{") :])
    names = ("workflowName", "workflowVersion", "taskName", "dagRunId")
    assert [body[name] for name in names] == ["w", "1", "T", "manual__1"]
    assert "left behind: ['filler']" in done.stdout
