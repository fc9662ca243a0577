"""
A client of RabbitMQ for messages and logs, in which every call has a time limit.

Runs in: worker, DAG processor, task environment; in each only once there is something to publish. pika's blocking
connection waits for a confirmation without a limit. So this module uses its event-driven connection, and runs its loop
step by step. Protocol: AMQP 0-9-1 with RabbitMQ's publisher confirms. This is the only module that uses private parts
of pika.
"""

import logging
import ssl
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pika
from pika.exceptions import AMQPChannelError, AMQPConnectionError, ChannelClosedByBroker, ConnectionClosedByBroker

from dkist_processing_core.exceptions import ConfigurationError
from dkist_processing_core.isb.envelope import Envelope
from dkist_processing_core.isb.errors import PublishError, as_publish_error
from dkist_processing_core.isb.settings import InterserviceBusConfiguration

__all__ = ["Channel", "Connection", "disable_pika_logs", "message_properties", "tls_context"]

# Called with None once a message is confirmed, or with the error if it is refused.
OnSettled = Callable[[PublishError | None], object]

APP_ID = "dkist-processing-core"
# pika's own time limit for opening a connection is shorter than ours, so that pika reports the step that failed.
OPENING_SHARE = 0.9
STEP_SECONDS = 0.05
GOODBYE_SECONDS = 0.5
TIDY_STEPS, TIDY_SECONDS = 3, 0.01
# A broker that is low on memory or disk accepts the first message of a connection and then stops reading from it.
PROBES = 2
# Reply codes of AMQP 0-9-1. The first two, no permission and no such exchange, say nothing about the message. The third
# one means that an operator has closed the connection, for example to stop the broker.
ACCESS_REFUSED, NOT_FOUND, CONNECTION_FORCED = 403, 404, 320
# pika resolves names in a thread of its own. What it logs there is also raised as an exception.
RESOLVER_LOGGER = "pika.adapters.utils.selector_ioloop_adapter"


def message_properties(envelope: Envelope, content_type: str = "text/plain") -> pika.BasicProperties:
    """Return the AMQP properties with which a message is published."""
    return pika.BasicProperties(
        content_type=content_type,
        content_encoding="UTF-8",
        delivery_mode=pika.DeliveryMode.Persistent,
        priority=0,
        message_id=envelope.message_id,
        app_id=APP_ID,
        type=envelope.type or None,
        timestamp=envelope.timestamp or None,
    )


class Connection:
    """
    A connection to the interservice bus. Use it in one thread only, and close it.

    Opening takes at most ``seconds``. If the broker blocks the connection for more than ``blocked_seconds``, it is
    closed; None sets no limit. Every method raises a `PublishError` if the connection is lost, and opening raises a
    `ConfigurationError` if the file of trusted certificates cannot be used.
    """

    def __init__(
        self, configuration: InterserviceBusConfiguration, *, seconds: float, blocked_seconds: float | None = None
    ) -> None:
        self.configuration = configuration
        # Why the broker blocks publishers at the moment (connection.blocked); empty if it does not.
        self.blocked = ""
        # Whether the broker has closed it because of something that it received.
        self.is_refused = False
        self._loss: PublishError | None = None
        self.transport: Any = pika.SelectConnection(
            _connection_parameters(configuration, OPENING_SHARE * seconds, blocked_seconds),
            on_open_callback=_ignore,
            on_open_error_callback=self._note_loss,
            on_close_callback=self._note_loss,
        )
        self._loop = self.transport.ioloop
        self._loop.activate_poller()
        self.transport.add_on_connection_blocked_callback(self._note_blocked)
        self.transport.add_on_connection_unblocked_callback(self._note_blocked)
        try:
            self.require(lambda: self.transport.is_open, time.monotonic() + seconds)
        except BaseException:
            self.close()
            raise

    def wait(self, is_done: Callable[[], object], deadline: float) -> bool:
        """Serve the connection until a condition is met; return whether it was met before the deadline."""
        while not is_done():
            if self._loss is not None:
                raise self._loss
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.serve(min(left, STEP_SECONDS))
        return True

    def require(self, is_done: Callable[[], object], deadline: float) -> None:
        """Do the same as `wait`, but raise a `PublishError` after the deadline."""
        if not self.wait(is_done, deadline):
            raise self._with_block("the broker did not answer before the time limit", retryable=True)

    def serve(self, seconds: float = 0.0) -> None:
        """Process what the broker sends, such as heartbeats; wait for data for at most this time."""
        timer = self._loop.call_later(seconds, lambda: None)
        self._loop.poll()
        self._loop.process_timeouts()
        self._loop.remove_timeout(timer)

    def close(self) -> None:
        """Close the connection, whatever its state is."""
        with suppress(Exception):  # pika does not handle everything that a peer can do
            if self.transport.is_open:
                self.transport.close()
                self.wait(lambda: self.transport.is_closed, time.monotonic() + GOODBYE_SECONDS)
            if self.transport.is_open or self.transport.is_closing:
                # pika's adapters implement this method. There is no public way to close the socket without an answer.
                self.transport._adapter_disconnect_stream()  # noqa: SLF001
            # pika releases its resources in callbacks of its loop.
            for _ in range(TIDY_STEPS):
                self.serve(TIDY_SECONDS)
        self._loop.close()

    def _note_loss(self, _transport: object, error: BaseException) -> None:
        failure = as_publish_error(error)
        self.is_refused = isinstance(error, ConnectionClosedByBroker) and error.reply_code != CONNECTION_FORCED
        self._loss = self._with_block(str(failure), retryable=failure.retryable)

    def _note_blocked(self, _transport: object, frame: Any) -> None:
        # The frame that ends a block has no reason.
        self.blocked = getattr(frame.method, "reason", "")

    def _with_block(self, reason: str, *, retryable: bool) -> PublishError:
        blocked = f"; it blocks publishers ({self.blocked})" if self.blocked else ""
        return PublishError(f"{reason}{blocked}", retryable=retryable)


class Channel:
    """
    A channel of a connection for the messages of one queue.

    Exchange, queue and binding are declared first; the deadline for this is a time of the monotonic clock. If the user
    may not declare one of them, or if it exists with other properties, it is used as it is: only the broker's answer to
    a message counts. ``refusals`` lists the declarations that the broker refused. ``is_closed`` tells whether the
    broker has closed the channel.

    The broker closes a channel because of a message that it refuses to process, such as one that is too large, and does
    not say which one. So the error is attributed to a message only if no other one was unconfirmed.
    """

    def __init__(self, connection: Connection, queue: str, routing_key: str, *, deadline: float) -> None:
        self.refusals: list[str] = []
        self.is_closed = False
        self._connection = connection
        self._deadline = deadline
        self._exchange = connection.configuration.isb_exchange
        self._routing_key = routing_key
        arguments = connection.configuration.isb_queue_arguments
        self._open()
        self._declare("exchange_declare", self._exchange, exchange_type="direct", durable=True)
        self._declare("queue_declare", queue, durable=True, arguments=arguments)
        self._declare("queue_bind", queue, self._exchange, routing_key=routing_key)

    def publish(self, envelope: Envelope, on_settled: OnSettled, content_type: str = "text/plain") -> None:
        """Publish a message, and call a function with None once it is confirmed, or with the error if it is refused."""
        properties = message_properties(envelope, content_type)
        self._publish(self._exchange, self._routing_key, envelope.body.encode(), properties, on_settled)

    def reopen(self) -> None:
        """Open the channel again if the broker has closed it."""
        if self.is_closed:
            self._open()

    def is_settled(self) -> bool:
        """Return whether the broker has confirmed or refused every message."""
        return not self._unconfirmed

    def wait_for_answer(self, seconds: float) -> None:
        """
        Wait until the broker confirms or refuses at least one message.

        It may take longer than ``seconds`` while the broker blocks publishers: the broker has the messages, and will
        confirm them later.
        """
        before = len(self._unconfirmed)
        while not self._connection.wait(lambda: len(self._unconfirmed) < before, time.monotonic() + seconds):
            if not self._connection.blocked:
                raise PublishError(f"the broker has confirmed no message for {seconds:.0f} s", retryable=True)
        if self.is_closed:
            raise self._closed_by

    def probe(self) -> None:
        """
        Find out whether the broker accepts messages, with messages that reach no queue.

        Once a broker that was low on memory has recovered, it would accept the first real message from the closed
        connection, long after that message was sent again. The default exchange routes by the name of the queue, and no
        queue has the name of a probe.
        """
        for _ in range(PROBES):
            name = f"{APP_ID}.probe.{uuid.uuid4().hex}"
            self._publish("", name, b"", pika.BasicProperties(message_id=name), _ignore)
            self._connection.require(self.is_settled, self._deadline)
            self.reopen()

    def _open(self) -> None:
        self.is_closed = False
        self._tag = 0
        self._unconfirmed: dict[int, tuple[str, OnSettled]] = {}
        self._returned: set[str] = set()
        self._channel: Any = self._connection.transport.channel(on_open_callback=_ignore)
        self._channel.add_on_close_callback(self._note_closed)
        self._channel.add_on_return_callback(self._note_returned)
        self._connection.require(lambda: self._channel.is_open, self._deadline)
        self._call("confirm_delivery", self._note_answer)

    def _declare(self, method: str, *arguments: Any, **options: Any) -> None:
        self._call(method, *arguments, **options)
        if self.is_closed:
            self.refusals.append(str(self._closed_by))
            self._open()

    def _call(self, method: str, *arguments: Any, **options: Any) -> None:
        answers: list[object] = []
        getattr(self._channel, method)(*arguments, callback=answers.append, **options)
        self._connection.require(lambda: answers or self.is_closed, self._deadline)

    def _publish(
        self, exchange: str, routing_key: str, body: bytes, properties: pika.BasicProperties, on_settled: OnSettled
    ) -> None:
        try:
            self._channel.basic_publish(exchange, routing_key, body, properties, mandatory=True)
        except (AMQPChannelError, AMQPConnectionError):
            raise
        except Exception as error:  # pika cannot encode the message, and has sent nothing
            on_settled(PublishError(f"{type(error).__name__}: {error}", retryable=False, is_refusal=True))
        else:
            self._tag += 1
            self._unconfirmed[self._tag] = properties.message_id, on_settled

    def _note_returned(self, _channel: object, _method: object, properties: Any, _body: bytes) -> None:
        # The broker first returns a message that it cannot route (basic.return), and then confirms it.
        self._returned.add(properties.message_id)

    def _note_answer(self, frame: Any) -> None:
        method = frame.method
        tags = [tag for tag in self._unconfirmed if tag <= method.delivery_tag] if method.multiple else []
        for tag in tags or [method.delivery_tag]:
            message_id, on_settled = self._unconfirmed.pop(tag)
            error = None
            if isinstance(method, pika.spec.Basic.Nack):
                error = PublishError("the broker refused the message (basic.nack)", retryable=True, is_refusal=True)
            elif message_id in self._returned:
                reason = "no queue takes the message (312 NO_ROUTE)"
                error = self._with_refusals(reason, retryable=False, is_refusal=True)
            on_settled(error)

    def _note_closed(self, _channel: object, error: BaseException) -> None:
        if not isinstance(error, ChannelClosedByBroker):
            return  # the connection reports its loss itself
        self.is_closed = True
        self._closed_by = as_publish_error(error)
        settling, self._unconfirmed = self._unconfirmed, {}
        is_general = error.reply_code in {ACCESS_REFUSED, NOT_FOUND}
        is_refusal = len(settling) == 1 and not is_general
        # The remedies of `as_publish_error` are for declarations.
        reason = str(self._closed_by) if is_general else f"{error.reply_code} {error.reply_text}"
        retryable = not is_general and not is_refusal
        for _, on_settled in settling.values():
            on_settled(self._with_refusals(reason, retryable=retryable, is_refusal=is_refusal))

    def _with_refusals(self, reason: str, *, retryable: bool, is_refusal: bool) -> PublishError:
        return PublishError("; ".join([reason, *self.refusals]), retryable=retryable, is_refusal=is_refusal)


def _connection_parameters(
    configuration: InterserviceBusConfiguration, seconds: float, blocked_seconds: float | None
) -> pika.ConnectionParameters:
    broker = configuration.isb_mesh_service
    return pika.ConnectionParameters(
        host=broker.host,
        port=broker.port,
        virtual_host=configuration.isb_virtual_host,
        credentials=pika.PlainCredentials(configuration.isb_username, configuration.isb_password),
        ssl_options=pika.SSLOptions(tls_context(configuration), broker.host) if configuration.isb_tls else None,
        connection_attempts=1,
        retry_delay=0,
        socket_timeout=seconds,
        stack_timeout=seconds,
        blocked_connection_timeout=blocked_seconds,
        client_properties={"connection_name": configuration.isb_connection_name},
    )


def tls_context(configuration: InterserviceBusConfiguration) -> ssl.SSLContext:
    """Return the TLS context; raise a `ConfigurationError` if the file of trusted certificates cannot be used."""
    try:
        return ssl.create_default_context(cafile=configuration.isb_ca_file)
    except OSError as error:  # the base class of ssl.SSLError
        raise ConfigurationError(
            f"DKIST_ISB_CA_FILE {str(configuration.isb_ca_file)!r} cannot be used: {error}. "
            "It must be a file with certificates (PEM)."
        ) from error


def _ignore(*_: object) -> None:
    """Do nothing: the state of the connection or channel is checked instead."""


_here = threading.local()


def disable_pika_logs() -> None:
    """Keep pika from logging a page about each failure in the current thread, since the error is also raised."""
    _here.is_disabled = True
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("pika."):
            logging.getLogger(name).addFilter(_is_logged)


def _is_logged(record: logging.LogRecord) -> bool:
    return record.name != RESOLVER_LOGGER and not getattr(_here, "is_disabled", False)
