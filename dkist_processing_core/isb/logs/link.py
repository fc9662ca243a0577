"""
One connection to the interservice bus over which log records go.

Runs in: task environment, in the log shipper. Protocol: AMQP 0-9-1 with RabbitMQ's publisher confirms. The loop is
pika's event-driven one, which waits for the broker, for new records and for the time at once.
"""

import time
from collections.abc import Callable
from typing import Any

import pika
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByClient
from pika.exchange_type import ExchangeType

from dkist_processing_core.isb.connection import Connection, connection_parameters, explained
from dkist_processing_core.isb.logs.flow import PACE_SECONDS, Flow
from dkist_processing_core.isb.logs.outbox import Message, Outbox
from dkist_processing_core.isb.settings import InterserviceBusConfiguration

__all__ = ["QUEUE", "ROUTING_KEY", "Link"]

QUEUE = "task.log.q"
ROUTING_KEY = "task.log.m"

# Connecting, step by step, and how long a broker may go without confirming anything.
CONNECT_SECONDS = 5.0
CONFIRM_SECONDS = 15.0
SOON_SECONDS = 1.0
TICK_SECONDS = 1.0
GOODBYE_SECONDS = 0.3
TIDY_SECONDS = 0.05


class Link:
    """
    A connection from when it is begun until it is lost or no longer needed.

    Parameters
    ----------
    configuration
        The settings of the bus.
    outbox
        Where messages come from and what is told of them.
    refusal
        Why the broker refused to declare exchange, queue or binding, if it has; it is not asked again then. All may be
        there, and the user not allowed to declare it.
    watch
        Called every second.

    Attributes
    ----------
    refusal
        As above, with what happened since.
    has_confirmed
        Whether a record has got through.
    can_pass
        Whether trying again may help.
    """

    def __init__(
        self,
        configuration: InterserviceBusConfiguration,
        outbox: Outbox,
        *,
        refusal: str | None,
        watch: Callable[[], None],
    ) -> None:
        self.refusal = refusal
        self.has_confirmed = False
        self.can_pass = True
        self._configuration = configuration
        self._outbox = outbox
        self._watch = watch
        self._channel: Any = None
        self._is_ready = False
        self._is_leaving = False
        self._is_paused = False
        self._blocked: str | None = None
        self._flow = Flow()
        self._unroutable: set[int] = set()
        self._began = time.monotonic()
        parameters = connection_parameters(configuration, seconds=CONNECT_SECONDS)
        # A broker that is low on memory or disk is waited for. What has been sent by then it will take when it can, so
        # another connection would only send it twice.
        parameters.blocked_connection_timeout = None
        self._connection: Any = Connection(
            parameters,
            on_open_callback=lambda connection: connection.channel(on_open_callback=self._confirm),
            on_open_error_callback=self._lost,
            on_close_callback=self._lost,
        )
        self._connection.add_on_connection_blocked_callback(self._block)
        self._connection.add_on_connection_unblocked_callback(self._unblock)
        self._loop = self._connection.ioloop

    def run(self) -> None:
        """Send until the connection is lost, or everything is sent and no more comes."""
        self._loop.call_later(TICK_SECONDS, self._tick)
        try:
            self._loop.start()
        finally:
            self._outbox.take_again(self._flow.unconfirmed)
            self._loop.close()

    def wake(self) -> None:
        """Say that there may be something to do; to be called from another thread."""
        self._loop.add_callback_threadsafe(self._send)

    # ---- opening -----------------------------------------------------------------------------------------------------
    def _confirm(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._channel_closed)
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._answered, callback=self._declare_exchange)

    def _declare_exchange(self, _: object) -> None:
        if self.refusal:
            self._begin(None)
            return
        self._channel.exchange_declare(
            self._configuration.isb_exchange,
            exchange_type=ExchangeType.direct,
            durable=True,
            callback=self._declare_queue,
        )

    def _declare_queue(self, _: object) -> None:
        self._channel.queue_declare(
            QUEUE, durable=True, arguments=self._configuration.isb_queue_arguments, callback=self._bind
        )

    def _bind(self, _: object) -> None:
        self._channel.queue_bind(QUEUE, self._configuration.isb_exchange, routing_key=ROUTING_KEY, callback=self._begin)

    def _begin(self, _: object) -> None:
        self._is_ready = True
        self._outbox.reason = None
        self._send()

    # ---- sending -----------------------------------------------------------------------------------------------------
    def _send(self) -> None:
        """Send what there is, as far as it may be sent now."""
        if not self._is_ready or self._is_leaving or self._blocked:
            return
        self._flow.allow(hurries=self._outbox.is_ended or self._outbox.is_half_full)
        while self._flow.may_send:
            message = self._outbox.take()
            if message is None:
                break
            self._publish(message)
        if self._flow.is_held_back and not self._is_paused:
            self._is_paused = True
            self._loop.call_later(PACE_SECONDS, self._go_on)
        if self._outbox.is_ended and not self._flow.unconfirmed and not self._outbox.has_more:
            self._leave()

    def _go_on(self) -> None:
        self._is_paused = False
        self._send()

    def _publish(self, message: Message) -> None:
        self._flow.sent(message)
        self._channel.basic_publish(
            self._configuration.isb_exchange,
            ROUTING_KEY,
            message.body,
            pika.BasicProperties(
                content_type="application/json",
                content_encoding="UTF-8",
                delivery_mode=pika.DeliveryMode.Persistent,
                app_id="dkist-processing-core",
                type="task.log",
                timestamp=int(message.seconds),
                message_id=f"{self._outbox.run}-{message.sequence}",
            ),
            mandatory=True,
        )

    def _answered(self, frame: Any) -> None:
        method = frame.method
        is_refused = isinstance(method, pika.spec.Basic.Nack)
        for message in self._flow.answered(method.delivery_tag, multiple=method.multiple):
            self._settle(message, is_refused=is_refused)
        if self._flow.has_room:
            self._send()

    def _settle(self, message: Message, *, is_refused: bool) -> None:
        """Tell the outbox what the broker has done with a message."""
        if is_refused:
            self._outbox.refuse(message, "the broker refused it (basic.nack); is the queue full?")
        elif message.sequence in self._unroutable:
            self._unroutable.discard(message.sequence)
            self._outbox.refuse(message, self._why_unroutable)
        else:
            self._outbox.confirm(message)
            self.has_confirmed = True

    def _returned(self, _channel: Any, _method: Any, properties: Any, _body: bytes) -> None:
        # The broker returns a message that it cannot route first and confirms it afterwards.
        self._unroutable.add(int(properties.message_id.rpartition("-")[2]))

    # ---- watching ----------------------------------------------------------------------------------------------------
    def _block(self, _connection: Any, frame: Any) -> None:
        self._blocked = f"{self._where} takes no messages: {frame.method.reason}"

    def _unblock(self, _connection: Any, _frame: Any) -> None:
        self._blocked = self._outbox.reason = None
        self._send()

    def _tick(self) -> None:
        if self._blocked:
            self._outbox.reason = self._blocked
            self._flow.wait()
        elif not self._is_ready and time.monotonic() - self._began > SOON_SECONDS:
            self._outbox.reason = self._outbox.reason or f"{self._where} does not answer"
        elif self._flow.silent_seconds > CONFIRM_SECONDS:
            self._outbox.reason = f"{self._where} has not confirmed anything for {CONFIRM_SECONDS:.0f} s"
            self._is_ready = False
            self._connection.drop()
        self._watch()
        self._send()
        self._loop.call_later(TICK_SECONDS, self._tick)

    @property
    def _why_unroutable(self) -> str:
        why = f"; declaring it was refused: {self.refusal}" if self.refusal else ""
        return f"{self._where}: no queue is bound to {self._configuration.isb_exchange!r} with {ROUTING_KEY!r}{why}"

    @property
    def _where(self) -> str:
        broker = self._configuration.isb_mesh_service
        return f"interservice bus at {broker.host}:{broker.port}"

    # ---- closing -----------------------------------------------------------------------------------------------------
    def _leave(self) -> None:
        self._is_leaving = True
        self._connection.close()
        self._loop.call_later(GOODBYE_SECONDS, self._loop.stop)

    def _channel_closed(self, _channel: Any, error: BaseException) -> None:
        if not isinstance(error, ChannelClosedByBroker):
            return  # the connection is lost, or it is us who leave; either is told elsewhere
        text = self._note(error)
        if not self._is_ready and not self.refusal:
            self.refusal = text
            self._flow = Flow()
            self._connection.channel(on_open_callback=self._confirm)
        else:
            self._is_ready = False
            self._connection.close()

    def _lost(self, _connection: Any, error: BaseException) -> None:
        self._is_ready = False
        if not self._is_leaving and not isinstance(error, ConnectionClosedByClient):
            self._note(error)
        # pika tidies up in callbacks of the same loop.
        self._loop.call_later(TIDY_SECONDS, self._loop.stop)

    def _note(self, error: BaseException) -> str:
        explanation = explained(error)
        self.can_pass = explanation.can_pass
        self._outbox.reason = f"{self._where}: {explanation}"
        return str(explanation)
