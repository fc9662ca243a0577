"""
Publish messages to RabbitMQ with pika, confirmed by the broker, in bounded time.

Runs in: worker. pika's blocking connection waits for a confirmation without a limit, so the connection used here is
the event-driven one, whose loop our own timer can end whatever the peer does or does not do. Protocol: AMQP 0-9-1 with
RabbitMQ's publisher confirms.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pika
from pika.exceptions import (
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)
from pika.exchange_type import ExchangeType

from dkist_processing_core.config import InterserviceBusConfiguration
from dkist_processing_core.exceptions import DKISTProcessingCoreError
from dkist_processing_core.isb.envelope import Envelope

__all__ = ["PublishError", "connection_parameters", "publish"]

logger = logging.getLogger(__name__)

TOTAL_SECONDS = 8.0
PAUSE_SECONDS = 0.5
GOODBYE_SECONDS = 0.5
TIDY_SECONDS = 0.05
OPENING_SHARE = 0.9

CONFIGURATION_ERRORS = {
    403: "access refused; check ISB_USERNAME, ISB_PASSWORD and what the user may do",
    404: "no such exchange or virtual host; check ISB_EXCHANGE",
    406: "the exchange or queue is already there with other properties; check ISB_EXCHANGE and ISB_QUEUE_TYPE",
    530: "not allowed; check the virtual host and what the user may do",
}


class PublishError(DKISTProcessingCoreError):
    """
    The broker has not confirmed a message.

    Parameters
    ----------
    reason
        What happened.
    can_pass
        Whether trying again may help, as with a broker that is down, or not, as with a wrong password.
    """

    def __init__(self, reason: str, *, can_pass: bool) -> None:
        self.can_pass = can_pass
        super().__init__(reason)


def connection_parameters(configuration: InterserviceBusConfiguration, *, seconds: float) -> pika.ConnectionParameters:
    """
    Return what pika needs to connect to the interservice bus.

    Parameters
    ----------
    configuration
        The settings.
    seconds
        Limit of every step of connecting, and of being blocked by the broker.
    """
    broker = configuration.isb_mesh_service
    return pika.ConnectionParameters(
        host=broker.host,
        port=broker.port,
        credentials=pika.PlainCredentials(configuration.isb_username, configuration.isb_password),
        connection_attempts=1,
        retry_delay=0,
        socket_timeout=seconds,
        stack_timeout=seconds,
        blocked_connection_timeout=seconds,
        client_properties={"connection_name": "dkist-processing-core"},
    )


def publish(envelopes: Sequence[Envelope], *, seconds: float = TOTAL_SECONDS) -> None:
    """
    Publish messages and return once the broker has confirmed them all.

    Each exchange, queue and binding is declared first. A broker that cannot be reached is tried again until the time
    is over; what trying again cannot mend is not.

    Parameters
    ----------
    envelopes
        The messages.
    seconds
        Limit of the whole call.

    Raises
    ------
    PublishError
        If any of them was not confirmed.
    """
    deadline = time.monotonic() + seconds
    configuration = InterserviceBusConfiguration()
    with _quiet_pika():
        while True:
            left = deadline - time.monotonic()
            attempt = _Attempt(connection_parameters(configuration, seconds=OPENING_SHARE * left), envelopes, left)
            try:
                attempt.run()
                return
            except PublishError as error:
                if not error.can_pass or deadline - time.monotonic() <= PAUSE_SECONDS:
                    broker = configuration.isb_mesh_service
                    raise PublishError(
                        f"interservice bus at {broker.host}:{broker.port}: {error}", can_pass=error.can_pass
                    ) from error
            time.sleep(PAUSE_SECONDS)


class _Connection(pika.SelectConnection):
    """A connection that can be dropped without the peer's consent."""

    def drop(self) -> None:
        """Close the socket. The callback for a closed connection follows."""
        # The method is what pika asks its adapters to implement for this; nothing public does it.
        self._adapter_disconnect_stream()


class _Attempt:
    """One connection on which all messages are published; the methods follow each other as the broker answers."""

    def __init__(self, parameters: pika.ConnectionParameters, envelopes: Sequence[Envelope], seconds: float) -> None:
        self._envelopes = envelopes
        self._seconds = seconds
        self._error: PublishError | None = None
        self._unconfirmed: set[int] = set()
        self._done = False
        self._channel: Any = None
        self._connection: Any = _Connection(
            parameters,
            on_open_callback=self._open_channel,
            on_open_error_callback=self._not_opened,
            on_close_callback=self._closed,
        )

    def run(self) -> None:
        """Publish, or raise `PublishError`."""
        loop = self._connection.ioloop
        loop.call_later(self._seconds, self._time_is_over)
        try:
            loop.start()
        finally:
            loop.close()
        if self._error is not None:
            raise self._error

    def _open_channel(self, connection: Any) -> None:
        connection.channel(on_open_callback=self._confirm)

    def _confirm(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._channel_closed)
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._confirmed, callback=lambda _: self._declare(0))

    def _declare(self, index: int) -> None:
        """Declare what the messages from this index on need, then publish them."""
        if index == len(self._envelopes):
            self._publish()
            return
        envelope = self._envelopes[index]

        def declare_queue(_: object) -> None:
            self._channel.queue_declare(
                envelope.queue, durable=True, arguments=dict(envelope.queue_arguments), callback=bind
            )

        def bind(_: object) -> None:
            self._channel.queue_bind(
                envelope.queue,
                envelope.exchange,
                routing_key=envelope.routing_key,
                callback=lambda _: self._declare(index + 1),
            )

        self._channel.exchange_declare(
            envelope.exchange, exchange_type=ExchangeType.direct, durable=True, callback=declare_queue
        )

    def _publish(self) -> None:
        self._unconfirmed = set(range(1, len(self._envelopes) + 1))
        for envelope in self._envelopes:
            self._channel.basic_publish(
                envelope.exchange,
                envelope.routing_key,
                envelope.body.encode(),
                pika.BasicProperties(
                    content_type="text/plain",
                    content_encoding="UTF-8",
                    delivery_mode=pika.DeliveryMode.Persistent,
                    priority=0,
                    message_id=envelope.message_id,
                ),
                mandatory=True,
            )
        if not self._unconfirmed:
            self._succeed()

    def _confirmed(self, frame: Any) -> None:
        method = frame.method
        tags = (
            {tag for tag in self._unconfirmed if tag <= method.delivery_tag}
            if method.multiple
            else {method.delivery_tag}
        )
        self._unconfirmed -= tags
        if isinstance(method, pika.spec.Basic.Nack):
            self._fail("the broker refused the message (basic.nack)", can_pass=True)
        elif not self._unconfirmed and self._error is None:
            self._succeed()

    def _returned(self, _channel: Any, method: Any, _properties: Any, _body: bytes) -> None:
        # The broker returns an unroutable message first and confirms it afterwards.
        self._fail(f"the message cannot be routed ({method.reply_code} {method.reply_text})", can_pass=False)

    def _succeed(self) -> None:
        self._done = True
        self._leave()

    def _fail(self, reason: str, *, can_pass: bool) -> None:
        if self._error is None and not self._done:
            self._error = PublishError(reason, can_pass=can_pass)
        self._leave()

    def _leave(self) -> None:
        if self._connection.is_open:
            self._connection.close()
            self._connection.ioloop.call_later(GOODBYE_SECONDS, self._drop)
        elif not self._connection.is_closing:
            self._stop_soon()

    def _time_is_over(self) -> None:
        if not self._done and self._error is None:
            self._error = PublishError(
                f"the broker did not confirm the message within {self._seconds:.0f} s", can_pass=True
            )
        self._drop()

    def _drop(self) -> None:
        # A connection that has not opened yet ends by pika's own timeouts, which are shorter than ours.
        if self._connection.is_open or self._connection.is_closing:
            self._connection.drop()
        self._stop_soon()

    def _stop_soon(self) -> None:
        """End the loop once pika has tidied up, which it does in callbacks of the same loop."""
        self._connection.ioloop.call_later(TIDY_SECONDS, self._connection.ioloop.stop)

    def _not_opened(self, _connection: Any, error: BaseException) -> None:
        self._fail_with(error)
        self._stop_soon()

    def _channel_closed(self, _channel: Any, error: BaseException) -> None:
        if isinstance(error, ChannelClosedByBroker):
            self._fail_with(error)

    def _closed(self, _connection: Any, error: BaseException) -> None:
        if not self._done and self._error is None:
            self._fail_with(error)
        self._stop_soon()

    def _fail_with(self, error: BaseException) -> None:
        if isinstance(error, (ChannelClosedByBroker, ConnectionClosedByBroker)):
            hint = CONFIGURATION_ERRORS.get(error.reply_code)
            text = f"{error.reply_code} {error.reply_text}"
        elif isinstance(error, (ProbableAuthenticationError, ProbableAccessDeniedError)):
            hint = CONFIGURATION_ERRORS[403 if isinstance(error, ProbableAuthenticationError) else 530]
            text = _innermost(error)
        else:
            hint = None
            text = _innermost(error)
        self._fail(f"{text} ({hint})" if hint else text, can_pass=hint is None)


def _innermost(error: BaseException) -> str:
    """Name the cause; pika wraps it, as an argument or in an attribute, sometimes several deep."""
    inner: object = error
    while isinstance(inner, BaseException):
        error = inner
        wrapped = [*getattr(error, "exceptions", ()), getattr(error, "exception", None), *error.args]
        inner = next((each for each in wrapped if isinstance(each, BaseException)), None)
    return f"{type(error).__name__}: {error}"


@contextmanager
def _quiet_pika() -> Iterator[None]:
    """Keep pika from writing a page about each failed attempt to the log of the task that failed already."""
    pika_logger = logging.getLogger("pika")
    level = pika_logger.level
    pika_logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        pika_logger.setLevel(level)
