"""Everything that can be wrong with the broker while a failure is reported: nothing is lost, nothing doubled."""

import contextlib
import logging
import re
import time
from concurrent.futures import ThreadPoolExecutor
from logging.handlers import QueueHandler
from queue import SimpleQueue

import pytest
from support.mesh import mesh_config
from support.messages import QUEUE
from support.peers import BASIC_PUBLISH, peer, relay, swallowing
from support.rabbitmq import RabbitMQ

from dkist_processing_core.failure_callback import chat_ops_notification
from dkist_processing_core.isb import spool
from dkist_processing_core.isb.pending import send_pending

pytestmark = pytest.mark.rabbitmq

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


def silent(broker):
    return bus_at(peer(lambda connection: None))


def cut_off(broker):
    """Whatever is published ends the connection instead of reaching the broker."""
    return bus_at(relay(broker.port, to_broker=lambda data: None if BASIC_PUBLISH in data else data))


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


def report_failure():
    """Let Airflow's callback report a failure; return its message."""
    return chat_ops_notification({"run_id": "manual__1"}, "w", "1", "T")


CAUSES = {
    "stopped": (RabbitMQ.stopped, "ConnectionRefusedError"),
    "packets are swallowed": (lambda _: bus_at(swallowing()), "[Tt]imed out"),
    "never speaks": (silent, "did not answer as a broker does before the time limit"),
    "dies before it has the message": (cut_off, "StreamLostError"),
    "no virtual host": (
        lambda _: settings(DKIST_ISB_VIRTUAL_HOST="/missing"),
        "vhost /missing not found.*check DKIST_ISB_VIRTUAL_HOST",
    ),
    "no permission to declare": (
        no_permission_to_declare,
        "404 NOT_FOUND - no exchange.*check ISB_EXCHANGE.*403 ACCESS_REFUSED",
    ),
    "nothing bound": (
        lambda broker: broker.no_right_to_declare(QUEUE),
        "no queue takes the message.*NO_ROUTE.*403 ACCESS_REFUSED",
    ),
    "low on disk": (RabbitMQ.low_on_disk, "it blocks publishers .low on disk."),
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
