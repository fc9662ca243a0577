"""Publishing to a real RabbitMQ, and to peers that misbehave."""

import contextlib
import gc
import json
import logging
import threading
import time
import warnings

import pika
import pytest
from pika import SelectConnection
from support.mesh import mesh_config
from support.messages import OTHER_QUEUE, QUEUE, new_envelope
from support.peers import peer, relay, swallowing
from support.waiting import PATIENCE_SECONDS, assert_takes_at_most

from dkist_processing_core.failure_callback import chat_ops_notification
from dkist_processing_core.isb import connection, spool
from dkist_processing_core.isb.connection import Connection
from dkist_processing_core.isb.publisher import PublishError, deliver, publish
from dkist_processing_core.isb.settings import isb_configuration


def test_a_failure_reaches_the_queue_that_consumers_bind_to(broker):
    """Exchange, queue, routing key, body and properties are those of the wire format."""
    message = chat_ops_notification({"run_id": "manual__1"}, "w", "1", "T")
    [(properties, body)] = broker.take_all(QUEUE)
    assert json.loads(body) == json.loads(message.body.model_dump_json())
    assert properties.delivery_mode == pika.DeliveryMode.Persistent.value
    assert (properties.content_type, properties.content_encoding) == ("text/plain", "UTF-8")
    assert (properties.priority, properties.message_id) == (0, message.message_id)
    assert (properties.app_id, properties.type) == ("dkist-processing-core", "recipe.run.failure")
    assert abs(properties.timestamp - time.time()) < 60
    assert list(spool.pending()) == []


def test_what_is_declared_is_what_consumers_declare(broker):
    """A consumer that declares the same exchange, queue and binding is not refused."""
    publish(new_envelope())
    connection = broker.connect()
    channel = connection.channel()
    channel.exchange_declare("master.direct.x", exchange_type="direct", durable=True)
    channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "classic"})
    channel.queue_bind(QUEUE, "master.direct.x", "recipe.run.failure.m")
    connection.close()
    assert len(broker.take_all(QUEUE)) == 1


def test_many_messages_go_out_on_one_connection_in_order(broker):
    """A thousand are confirmed, each is told when it is, and none is lost or doubled."""
    told = []
    envelopes = [new_envelope(body=str(number), message_id=f"{number:032x}") for number in range(1000)]
    assert deliver(envelopes, on_confirmed=told.append) == {}
    assert sorted(told) == list(range(1000))
    taken = broker.take_all(QUEUE)
    assert [int(body) for _, body in taken] == list(range(1000))
    assert len({properties.message_id for properties, _ in taken}) == 1000


def test_no_message_is_no_error():
    """Delivering nothing succeeds, without a broker."""
    assert deliver([]) == {}


def test_a_message_that_is_refused_holds_up_no_other(broker):
    """The one that no queue takes is reported, the others are delivered, each to its queue."""
    with broker.no_right_to_declare(OTHER_QUEUE):
        publish(new_envelope())
        envelopes = [new_envelope(queue=OTHER_QUEUE, routing_key="other.m"), new_envelope(message_id="f" * 32)]
        errors = deliver(envelopes)
    assert list(errors) == [0]
    assert "no queue takes the message (312 NO_ROUTE)" in str(errors[0])
    assert not errors[0].retryable
    assert len(broker.take_all(QUEUE)) == 2


def test_what_cannot_be_declared_is_used_as_it_is(broker, caplog, monkeypatch):
    """A queue that is there with another type, and bound, takes the message; the log says what to check."""
    publish(new_envelope())
    monkeypatch.setenv("ISB_QUEUE_TYPE", "quorum")
    with caplog.at_level(logging.WARNING):
        publish(new_envelope(message_id="f" * 32))
    assert "406 PRECONDITION_FAILED" in caplog.text
    assert "check ISB_EXCHANGE and ISB_QUEUE_TYPE" in caplog.text
    assert len(broker.take_all(QUEUE)) == 2


def test_a_wrong_password_is_a_configuration_error(broker, monkeypatch):
    """It is reported with what to check, and the password is not in the message."""
    monkeypatch.setenv("ISB_PASSWORD", "wr0ng")
    with pytest.raises(PublishError, match="check ISB_USERNAME, ISB_PASSWORD") as caught:
        publish(new_envelope())
    assert not caught.value.retryable
    assert "wr0ng" not in str(caught.value)


def test_what_we_use_of_pika_that_is_private_is_there(broker):
    """A connection is closed without an answer of the broker; the method for it is one that pika's adapters have."""
    assert "_adapter_disconnect_stream" in dir(SelectConnection)
    with contextlib.closing(Connection(isb_configuration(), seconds=PATIENCE_SECONDS)) as connection:
        connection.transport.close()
        connection.transport._adapter_disconnect_stream()
        with pytest.raises(PublishError, match="ConnectionClosedByClient"):
            connection.wait(lambda: False, time.monotonic() + 5)
        assert connection.transport.is_closed


@pytest.mark.parametrize("server", [lambda: peer(lambda _: None), swallowing], ids=["silent", "swallowing"])
def test_a_connection_that_is_not_open_in_time_leaves_no_socket(monkeypatch, server):
    """Ours is the first limit that has passed here, as where the process is suspended for a while."""
    monkeypatch.setattr(connection, "OPENING_SHARE", 100)
    with server() as port, warnings.catch_warnings(action="always", record=True) as found:
        monkeypatch.setenv("MESH_CONFIG", mesh_config(port))
        with pytest.raises(PublishError, match="did not answer before the time limit"):
            Connection(isb_configuration(), seconds=0.5)
        gc.collect()
    assert [str(each.message) for each in found] == []


def test_only_our_own_thread_keeps_pika_from_logging(broker, caplog, monkeypatch):
    """What a team does with pika in the same process is logged as ever."""
    publish(new_envelope())
    with caplog.at_level(logging.INFO, "pika"):
        publish(new_envelope(message_id="f" * 32))
        assert not [each for each in caplog.records if each.name.startswith("pika")]
        broker.connect().close()
    assert any(each.name.startswith("pika.") for each in caplog.records)


@pytest.mark.parametrize(
    "behave",
    [
        lambda connection: None,
        lambda connection: connection.close(),
        lambda connection: connection.sendall(b"HTTP/1.1 400\r\n\r\n"),
    ],
    ids=["silent", "closes", "speaks-http"],
)
def test_an_odd_peer_costs_bounded_time(monkeypatch, behave):
    """Whatever listens on the port, publishing ends within its limit with a reason, and may be tried again."""
    with peer(behave) as port:
        monkeypatch.setenv("MESH_CONFIG", mesh_config(port))

        def attempt():
            with pytest.raises(PublishError, match=f"interservice bus at 127.0.0.1:{port}: .+") as caught:
                publish(new_envelope(), seconds=3)
            assert caught.value.retryable

        assert_takes_at_most(4, attempt)


def test_a_broker_that_freezes_costs_bounded_time(broker, monkeypatch):
    """A connection that passes the handshake and then no more bytes ends within its limit."""

    def attempt():
        passed = 0
        thawed = threading.Event()

        def freeze(data):
            nonlocal passed
            passed += len(data)
            if passed > 900:  # enough for the connection to open, not for a confirmation
                thawed.wait(PATIENCE_SECONDS)
            return data

        with relay(broker.port, to_broker=freeze, to_client=freeze) as port:
            monkeypatch.setenv("MESH_CONFIG", mesh_config(port))
            started = time.monotonic()
            with pytest.raises(PublishError, match="before the time limit|Timeout|timeout"):
                publish(new_envelope(), seconds=3)
            took = time.monotonic() - started
            thawed.set()
        return took

    assert_takes_at_most(4, attempt)


def test_a_name_service_that_hangs_costs_bounded_time(monkeypatch):
    """Neither the call nor the end of the process waits for it (the lookup is a stand-in that never ends)."""
    hanging = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: hanging.wait(PATIENCE_SECONDS))
    monkeypatch.setenv("MESH_CONFIG", mesh_config(5672, host="nowhere.invalid"))

    def attempt():
        with pytest.raises(PublishError, match="interservice bus at nowhere.invalid:5672"):
            publish(new_envelope(), seconds=2)

    assert_takes_at_most(4, attempt)
    assert [each for each in threading.enumerate() if not each.daemon] == [threading.main_thread()]
    hanging.set()
