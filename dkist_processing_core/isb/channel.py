"""
A channel of a connection to RabbitMQ, with a queue and the messages to it.

Runs in: worker, DAG processor, task environment; in each only once there is something to publish. Protocol: AMQP 0-9-1
with RabbitMQ's publisher confirms.
"""

import time
import uuid
from collections.abc import Callable
from typing import Any

import pika
from pika.exceptions import AMQPChannelError, AMQPConnectionError, ChannelClosedByBroker

from dkist_processing_core.isb.connection import Connection
from dkist_processing_core.isb.envelope import Envelope
from dkist_processing_core.isb.errors import PublishError, as_publish_error

__all__ = ["Channel", "message_properties"]

# Called with None once a message is confirmed, or with the error if it is refused.
OnSettled = Callable[[PublishError | None], object]

APP_ID = "dkist-processing-core"
# A broker that is low on memory or disk accepts the first message of a connection and then stops reading from it.
PROBES = 2
# Reply codes of AMQP 0-9-1: no permission, and no such exchange. They say nothing about the message.
ACCESS_REFUSED, NOT_FOUND = 403, 404


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


def _ignore(*_: object) -> None:
    """Do nothing: the state of the channel is checked instead."""
