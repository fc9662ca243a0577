"""Publishing to a real RabbitMQ, and to peers that misbehave."""

import contextlib
import json
import socket
import threading
import time

import pika
import pytest

from dkist_processing_core.failure_callback import chat_ops_notification
from dkist_processing_core.isb import spool
from dkist_processing_core.isb.envelope import Envelope
from dkist_processing_core.isb.publisher import PublishError, publish

QUEUE = "recipe.run.failure.q"


def new_envelope(**changes):
    facts = {
        "exchange": "master.direct.x",
        "routing_key": "recipe.run.failure.m",
        "queue": QUEUE,
        "body": '{"taskName": "T"}',
        "message_id": "0123456789abcdef0123456789abcdef",
        "queue_arguments": {"x-queue-type": "classic"},
    }
    return Envelope(**(facts | changes))


def point_at(monkeypatch, port):
    monkeypatch.setenv(
        "MESH_CONFIG", json.dumps({"interservice-bus": {"mesh_address": "127.0.0.1", "mesh_port": port}})
    )


@pytest.fixture
def broker(rabbitmq, monkeypatch):
    """The real broker, with nothing declared on it, as the settings name it."""
    monkeypatch.setenv("MESH_CONFIG", rabbitmq.mesh_config)
    rabbitmq.forget(QUEUE, "other.q")
    yield rabbitmq
    rabbitmq.forget(QUEUE, "other.q")


@pytest.mark.rabbitmq
def test_a_failure_reaches_the_queue_that_consumers_bind_to(broker):
    """Exchange, queue, routing key, body and properties are those of the wire format."""
    message = chat_ops_notification({"run_id": "manual__1"}, "w", "1", "T")
    [(properties, body)] = broker.take_all(QUEUE)
    assert json.loads(body) == json.loads(message.body.model_dump_json())
    assert properties.delivery_mode == pika.DeliveryMode.Persistent.value
    assert (properties.content_type, properties.content_encoding) == ("text/plain", "UTF-8")
    assert (properties.priority, properties.message_id) == (0, message.message_id)
    assert list(spool.waiting()) == []


@pytest.mark.rabbitmq
def test_what_is_declared_is_what_consumers_declare(broker):
    """A consumer that declares the same exchange, queue and binding is not refused."""
    publish([new_envelope()])
    connection = broker.connect()
    channel = connection.channel()
    channel.exchange_declare("master.direct.x", exchange_type="direct", durable=True)
    channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "classic"})
    channel.queue_bind(QUEUE, "master.direct.x", "recipe.run.failure.m")
    connection.close()
    assert len(broker.take_all(QUEUE)) == 1


@pytest.mark.rabbitmq
def test_many_messages_go_out_on_one_connection_in_order(broker):
    """A thousand are confirmed, and none is lost or doubled."""
    publish([new_envelope(body=str(number), message_id=f"{number:032x}") for number in range(1000)])
    taken = broker.take_all(QUEUE)
    assert [int(body) for _, body in taken] == list(range(1000))
    assert len({properties.message_id for properties, _ in taken}) == 1000


@pytest.mark.rabbitmq
def test_no_message_is_no_error(broker):
    """Publishing nothing succeeds."""
    publish([])


@pytest.mark.rabbitmq
def test_a_queue_of_another_type_is_a_configuration_error(broker):
    """406 is reported with what to check, at once, and not tried again."""
    publish([new_envelope(queue="other.q")])
    started = time.monotonic()
    with pytest.raises(PublishError, match="406 PRECONDITION_FAILED.*check ISB_EXCHANGE and ISB_QUEUE_TYPE") as caught:
        publish([new_envelope(queue="other.q", queue_arguments={"x-queue-type": "quorum"})])
    assert not caught.value.can_pass
    assert time.monotonic() - started < 4


@pytest.mark.rabbitmq
def test_a_wrong_password_is_a_configuration_error(broker, monkeypatch):
    """It is reported with what to check, and the password is not in the message."""
    monkeypatch.setenv("ISB_PASSWORD", "wr0ng")
    with pytest.raises(PublishError, match="check ISB_USERNAME, ISB_PASSWORD") as caught:
        publish([new_envelope()])
    assert not caught.value.can_pass
    assert "wr0ng" not in str(caught.value)


@pytest.mark.rabbitmq
def test_a_failure_with_a_wrong_configuration_is_kept(broker, monkeypatch):
    """The callback keeps what the broker refuses."""
    publish([new_envelope()])
    broker.take_all(QUEUE)
    monkeypatch.setenv("ISB_QUEUE_TYPE", "quorum")
    message = chat_ops_notification({"run_id": "r"}, "w", "1", "T")
    assert [envelope.message_id for _, envelope in spool.waiting()] == [message.message_id]
    assert broker.take_all(QUEUE) == []


@contextlib.contextmanager
def peer(behave):
    """A server on the loopback address that does one odd thing with every connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections = []

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connections.append(connection)
                behave(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in connections:
            connection.close()
        thread.join(5)


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
        point_at(monkeypatch, port)
        started = time.monotonic()
        with pytest.raises(PublishError, match=f"interservice bus at 127.0.0.1:{port}: .+") as caught:
            publish([new_envelope()], seconds=3)
        assert time.monotonic() - started < 4
        assert caught.value.can_pass


@pytest.mark.rabbitmq
def test_a_broker_that_freezes_costs_bounded_time(broker, monkeypatch):
    """A connection that passes the handshake and then no more bytes ends within its limit."""
    passed = 0
    upstreams = []

    def relay(connection):
        upstream = socket.create_connection(("127.0.0.1", broker.port))
        upstreams.append(upstream)

        def pump(source, target):
            nonlocal passed
            with contextlib.suppress(OSError):
                while data := source.recv(4096):
                    passed += len(data)
                    if passed > 900:  # enough for the connection to open, not for a confirmation
                        time.sleep(30)
                    target.sendall(data)

        for ends in ((connection, upstream), (upstream, connection)):
            threading.Thread(target=pump, args=ends, daemon=True).start()

    with peer(relay) as port:
        point_at(monkeypatch, port)
        started = time.monotonic()
        with pytest.raises(PublishError, match="did not confirm the message within|Timeout|timeout"):
            publish([new_envelope()], seconds=3)
        assert time.monotonic() - started < 4
    for upstream in upstreams:
        upstream.close()
