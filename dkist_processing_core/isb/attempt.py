"""
One connection to the broker, on which messages are published and confirmed.

Runs in: worker, DAG processor. The methods follow each other as the broker answers, which is how pika's event-driven
connection works.
"""

import logging
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import pika
from pika.exceptions import ChannelClosedByBroker
from pika.exchange_type import ExchangeType

from dkist_processing_core.isb.connection import APP_ID, Connection, PublishError, explained, message_properties
from dkist_processing_core.isb.envelope import Envelope
from dkist_processing_core.isb.settings import InterserviceBusConfiguration

__all__ = ["Attempt"]

logger = logging.getLogger(__name__)

GOODBYE_SECONDS = 0.5
TIDY_SECONDS = 0.05


class Attempt:
    """
    One attempt to publish messages.

    Parameters
    ----------
    parameters
        Where the broker is; its limits must be shorter than ``seconds``.
    configuration
        Names the exchange and the type of the queues.
    envelopes
        The messages, by a number that the caller knows them by.
    seconds
        Limit of the attempt.
    on_confirmed
        Called with the number of each message as soon as the broker has confirmed it.
    """

    def __init__(
        self,
        parameters: pika.ConnectionParameters,
        configuration: InterserviceBusConfiguration,
        envelopes: Mapping[int, Envelope],
        seconds: float,
        on_confirmed: Callable[[int], object],
    ) -> None:
        self._configuration = configuration
        self._seconds = seconds
        self._on_confirmed = on_confirmed
        self._open = set(envelopes)
        self._errors: dict[int, PublishError] = {}
        self._blocked = ""
        groups: dict[tuple[str, str], dict[int, Envelope]] = {}
        for index, envelope in envelopes.items():
            groups.setdefault((envelope.queue, envelope.routing_key), {})[index] = envelope
        self._groups = iter(groups.values())
        self._connection: Any = Connection(
            parameters,
            on_open_callback=lambda _: self._start_group(),
            on_open_error_callback=self._not_opened,
            on_close_callback=self._closed,
        )
        self._connection.add_on_connection_blocked_callback(self._note_blocked)

    def run(self) -> dict[int, PublishError]:
        """Publish, and return why messages were not confirmed, by their number; empty if all were."""
        loop = self._connection.ioloop
        loop.call_later(self._seconds, self._time_is_over)
        try:
            loop.start()
        finally:
            loop.close()
        return self._errors

    def _start_group(self) -> None:
        envelopes = next(self._groups, None)
        if envelopes is None:
            self._leave()
        else:
            _Group(self._connection, self._configuration, envelopes, self._settle, self._start_group).start()

    def _settle(self, index: int, error: PublishError | None) -> None:
        if index not in self._open:
            return
        self._open.remove(index)
        if error is None:
            self._on_confirmed(index)
        else:
            self._errors[index] = error

    def _settle_all(self, error: PublishError) -> None:
        for index in sorted(self._open):
            self._settle(index, error)

    def _note_blocked(self, _connection: object, frame: Any) -> None:
        self._blocked = f"; it takes no messages ({frame.method.reason})"

    def _leave(self) -> None:
        if self._connection.is_open:
            self._connection.close()
            self._connection.ioloop.call_later(GOODBYE_SECONDS, self._drop)
        elif not self._connection.is_closing:
            self._stop_soon()

    def _time_is_over(self) -> None:
        text = f"the broker did not confirm the message within {self._seconds:.0f} s{self._blocked}"
        self._settle_all(PublishError(text, can_pass=True))
        self._drop()

    def _drop(self) -> None:
        # A connection that has not opened yet ends by pika's own timeouts, which are shorter than ours.
        if self._connection.is_open or self._connection.is_closing:
            self._connection.drop()
        self._stop_soon()

    def _stop_soon(self) -> None:
        """End the loop once pika has tidied up, which it does in callbacks of the same loop."""
        self._connection.ioloop.call_later(TIDY_SECONDS, self._connection.ioloop.stop)

    def _not_opened(self, _connection: object, error: BaseException) -> None:
        self._settle_all(explained(error))
        self._stop_soon()

    def _closed(self, _connection: object, error: BaseException) -> None:
        failure = explained(error)
        self._settle_all(PublishError(f"{failure}{self._blocked}", can_pass=failure.can_pass))
        self._stop_soon()


class _Group:
    """
    The messages for one queue, on a channel of their own.

    What this user may not declare, or what is there with other properties, is left as it is: the messages are published
    all the same, and it is the broker's answer to them that counts.
    """

    def __init__(
        self,
        connection: Any,
        configuration: InterserviceBusConfiguration,
        envelopes: Mapping[int, Envelope],
        settle: Callable[[int, PublishError | None], None],
        on_end: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._exchange = configuration.isb_exchange
        self._queue_arguments = configuration.isb_queue_arguments
        self._envelopes = envelopes
        self._first = next(iter(envelopes.values()))
        self._settle = settle
        self._on_end = on_end
        self._channel: Any = None
        declarations = (self._declare_exchange, self._declare_queue, self._bind)
        self._steps = iter((*declarations, self._probe, self._probe, self._publish))
        self._step: Callable[[], None] = self.start
        self._refusals: list[str] = []
        self._published_on_channel = 0
        self._unconfirmed: dict[int, int] = {}
        self._returned: set[str] = set()

    def start(self) -> None:
        """Open a channel and take the next step that is left."""
        self._published_on_channel = 0
        self._connection.channel(on_open_callback=self._opened)

    def _opened(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._closed)
        channel.add_on_return_callback(self._note_returned)
        channel.confirm_delivery(self._answered, callback=self._go_on)

    def _go_on(self, _: object) -> None:
        self._step = next(self._steps)
        self._step()

    def _declare_exchange(self) -> None:
        self._channel.exchange_declare(
            self._exchange, exchange_type=ExchangeType.direct, durable=True, callback=self._go_on
        )

    def _declare_queue(self) -> None:
        self._channel.queue_declare(
            self._first.queue, durable=True, arguments=self._queue_arguments, callback=self._go_on
        )

    def _bind(self) -> None:
        self._channel.queue_bind(
            self._first.queue, self._exchange, routing_key=self._first.routing_key, callback=self._go_on
        )

    def _probe(self) -> None:
        """
        Publish something that reaches nobody, to learn whether the broker takes messages at all.

        A broker that is low on memory or disk takes the first message of a connection and then stops reading from it.
        It would take the second one from the closed connection once it has recovered, when that was long sent again.
        So the answer to two of these says that it takes more. The default exchange knows queues by their names, and
        there is none of this name.
        """
        self._published_on_channel += 1
        self._channel.basic_publish("", f"{APP_ID}.probe.{uuid.uuid4().hex}", b"", mandatory=True)

    def _publish(self) -> None:
        for refusal in self._refusals:
            logger.warning("Publishing to %s without having declared all of it: %s", self._first.queue, refusal)
        self._unconfirmed = dict(enumerate(self._envelopes, start=self._published_on_channel + 1))
        for envelope in self._envelopes.values():
            self._channel.basic_publish(
                self._exchange,
                envelope.routing_key,
                envelope.body.encode(),
                message_properties(envelope),
                mandatory=True,
            )

    def _note_returned(self, _channel: object, _method: object, properties: Any, _body: bytes) -> None:
        # The broker returns a message that no queue takes first, and confirms it afterwards.
        self._returned.add(properties.message_id)

    def _answered(self, frame: Any) -> None:
        if self._step == self._probe:
            self._go_on(frame)
            return
        method = frame.method
        tags = [tag for tag in self._unconfirmed if tag <= method.delivery_tag] if method.multiple else []
        for tag in tags or [method.delivery_tag]:
            index = self._unconfirmed.pop(tag)
            error = None
            if isinstance(method, pika.spec.Basic.Nack):
                error = PublishError("the broker refused the message (basic.nack)", can_pass=True)
            elif self._envelopes[index].message_id in self._returned:
                error = PublishError(self._told("no queue takes the message (312 NO_ROUTE)"), can_pass=False)
            self._settle(index, error)
        if not self._unconfirmed:
            self._on_end()

    def _closed(self, _channel: object, error: BaseException) -> None:
        if not isinstance(error, ChannelClosedByBroker):
            return
        if self._step != self._publish:
            if self._step != self._probe:
                self._refusals.append(str(explained(error)))
            self.start()
            return
        failure = explained(error)
        for index in self._unconfirmed.values():
            self._settle(index, PublishError(self._told(str(failure)), can_pass=failure.can_pass))
        self._on_end()

    def _told(self, reason: str) -> str:
        return "; ".join([reason, *self._refusals])
