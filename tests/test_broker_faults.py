"""Everything that can be wrong with the broker while a failure is reported: nothing is lost, nothing doubled."""

import contextlib
import json
import logging
import re
import shutil
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from logging.handlers import QueueHandler
from queue import SimpleQueue

import pytest
from support.command_line import run_command
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
def nobody_listens(broker):
    [port] = free_ports(1)
    with settings(MESH_CONFIG=mesh_config(port)):
        yield


@contextlib.contextmanager
def packets_are_swallowed(broker):
    with swallowing() as port, settings(MESH_CONFIG=mesh_config(port)):
        yield


@contextlib.contextmanager
def never_speaks(broker):
    with peer(lambda connection: None) as port, settings(MESH_CONFIG=mesh_config(port)):
        yield


@contextlib.contextmanager
def dies_before_it_has_the_message(broker):
    """Whatever is published ends the connection instead of reaching the broker."""

    def cut(data):
        return None if BASIC_PUBLISH in data else data

    with relay(broker.port, to_broker=cut) as port, settings(MESH_CONFIG=mesh_config(port)):
        yield


@contextlib.contextmanager
def wrong_password(broker):
    with settings(ISB_PASSWORD="wr0ng"):
        yield


@contextlib.contextmanager
def no_virtual_host(broker):
    with settings(DKIST_ISB_VIRTUAL_HOST="/missing"):
        yield


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
def low_on_disk(broker):
    """The broker has raised its alarm for free disk space and takes no messages."""
    broker.control("set_disk_free_limit", "900000GB")
    try:
        yield
    finally:
        broker.control("set_disk_free_limit", "1MB")


@contextlib.contextmanager
def malformed_configuration(broker):
    with settings(MESH_CONFIG='{"interservice-bus": 3}'):
        yield


@contextlib.contextmanager
def channel_of(broker):
    connection = broker.connect()
    try:
        yield connection.channel()
    finally:
        connection.close()


def report_failure():
    """Let Airflow's callback report a failure; return its message."""
    return chat_ops_notification({"run_id": "manual__1"}, "w", "1", "T")


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (RabbitMQ.stopped, "ConnectionRefusedError"),
        (nobody_listens, "ConnectionRefusedError"),
        (packets_are_swallowed, "[Tt]imed out"),
        (never_speaks, "did not answer as a broker does before the time limit"),
        (dies_before_it_has_the_message, "StreamLostError"),
        (wrong_password, "ACCESS_REFUSED.*check ISB_USERNAME, ISB_PASSWORD"),
        (no_virtual_host, "vhost /missing not found.*check DKIST_ISB_VIRTUAL_HOST"),
        (queue_of_another_type, "404 NOT_FOUND - no exchange.*check ISB_EXCHANGE"),
        (exchange_of_another_type, "no queue takes the message.*403 ACCESS_REFUSED"),
        (no_permission_to_declare, "404 NOT_FOUND - no exchange.*403 ACCESS_REFUSED"),
        (nothing_bound_to_the_exchange, "no queue takes the message.*NO_ROUTE.*403 ACCESS_REFUSED"),
        (low_on_disk, "it blocks publishers .low on disk."),
        (malformed_configuration, "MESH_CONFIG has no valid address for 'interservice-bus'.*must look like"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
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
    namespace = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*namespace, "true"], capture_output=True).returncode:
        pytest.skip("this machine has no mount namespaces, in which a small disk can be had")
    [port] = free_ports(1)
    folder = tmp_path / "full"
    command = [*namespace, sys.executable, "-c", textwrap.dedent(REPORT_ON_A_FULL_DISK), folder]
    done = run_command(*command, MESH_CONFIG=mesh_config(port), DKIST_ISB_SPOOL=folder).check()
    [line] = [each for each in done.stderr.splitlines() if "could neither be published" in each]
    assert "No space left on device" in line
    body = json.loads(line[line.index("{") :])
    names = ("workflowName", "workflowVersion", "taskName", "dagRunId")
    assert [body[name] for name in names] == ["w", "1", "T", "manual__1"]
    assert "left behind: ['filler']" in done.stdout
