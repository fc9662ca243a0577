"""
Publish messages to RabbitMQ with pika, confirmed by the broker, in bounded time.

Runs in: worker, DAG processor.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial

from dkist_processing_core.common import test_mode
from dkist_processing_core.isb.channel import Channel
from dkist_processing_core.isb.connection import Connection, disable_pika_logs
from dkist_processing_core.isb.envelope import Envelope
from dkist_processing_core.isb.errors import PublishError, as_publish_error
from dkist_processing_core.isb.settings import InterserviceBusConfiguration, isb_configuration

__all__ = ["TOTAL_SECONDS", "PublishError", "deliver", "publish"]

logger = logging.getLogger(__name__)

# Called with the index of a message.
OnConfirmed = Callable[[int], object]

TOTAL_SECONDS = 7.5
PAUSE_SECONDS = 0.5
LEAST_SECONDS = 1.0
BEYOND_SECONDS = 0.5


def publish(envelope: Envelope, *, seconds: float = TOTAL_SECONDS) -> None:
    """Publish one message, or raise the `PublishError` that `deliver` returns. ``seconds`` limits the whole call."""
    for error in deliver([envelope], seconds=seconds).values():
        raise error


def deliver(
    envelopes: Sequence[Envelope],
    *,
    seconds: float = TOTAL_SECONDS,
    on_confirmed: OnConfirmed = lambda _: None,
    retry_refused: bool = True,
) -> dict[int, PublishError]:
    """
    Publish messages until the broker has confirmed or refused each of them, or no time is left.

    Exchange, queues and bindings are declared first. Until no time is left, there are retries if the broker cannot be
    reached and, with ``retry_refused``, for a message that it refuses for now; there are none for an error for which a
    retry is pointless. A refused message does not delay the others: if the broker closes a channel or a connection and
    does not say because of which message, they are published again one by one. ``on_confirmed`` is called in another
    thread with the index of each message as soon as the broker has confirmed it.

    Return the error of each message that was not confirmed, by index. If a setting of the bus cannot be used, a
    `ConfigurationError` is raised.
    """
    if doubles := test_mode.active():
        return _hand_over(doubles.deliver, envelopes, on_confirmed)
    configuration = isb_configuration()
    broker = configuration.isb_mesh_service
    delivery = _Delivery(configuration, envelopes, on_confirmed, retry_refused=retry_refused)
    # A daemon thread, so that the threads that pika starts, such as one to resolve names, are also daemons and do not
    # keep the process alive. If anything hangs in spite of all limits, the thread is abandoned.
    thread = threading.Thread(target=delivery.run, args=[seconds], name="dkist-isb-publisher", daemon=True)
    thread.start()
    thread.join(seconds + BEYOND_SECONDS)
    errors = {}
    for index in list(delivery.unconfirmed):
        error = delivery.errors.get(index) or PublishError(f"no answer within {seconds:.0f} s", retryable=True)
        reason = f"interservice bus at {broker.host}:{broker.port}: {error}"
        errors[index] = PublishError(reason, retryable=error.retryable, is_refusal=error.is_refusal)
    return errors


def _hand_over(
    take: Callable[[Envelope], object], envelopes: Sequence[Envelope], on_confirmed: OnConfirmed
) -> dict[int, PublishError]:
    errors = {}
    for index, envelope in enumerate(envelopes):
        try:
            take(envelope)
        except PublishError as error:
            errors[index] = error
        else:
            on_confirmed(index)
    return errors


def _is_open(error: PublishError | None) -> bool:
    """Return whether a message with this error must be published again."""
    return error is None or error.retryable


class _Delivery:
    """A series of attempts, until another one could not deliver any more messages."""

    def __init__(
        self,
        configuration: InterserviceBusConfiguration,
        envelopes: Sequence[Envelope],
        on_confirmed: OnConfirmed,
        *,
        retry_refused: bool,
    ) -> None:
        self._configuration = configuration
        self._on_confirmed = on_confirmed
        self._retry_refused = retry_refused
        # By index: how often the broker has closed the channel or the connection while the message was unconfirmed.
        self._closures: Counter[int] = Counter()
        # By index: the messages that are not confirmed, and their errors.
        self.unconfirmed = dict(enumerate(envelopes))
        self.errors: dict[int, PublishError] = {}

    def run(self, seconds: float) -> None:
        """Make attempts until everything is settled or no time is left."""
        deadline = time.monotonic() + seconds
        disable_pika_logs()
        while left := self._left():
            self.errors |= self._attempt(left, deadline)
            # An attempt with hardly any time left would only replace the actual error with a time-out.
            if deadline - time.monotonic() <= PAUSE_SECONDS + LEAST_SECONDS:
                return
            if self._left():
                time.sleep(PAUSE_SECONDS)

    def _left(self) -> dict[int, Envelope]:
        """Return the messages that are neither confirmed nor finally refused."""
        refused = {
            index
            for index, error in self.errors.items()
            if not error.retryable or (error.is_refusal and not self._retry_refused)
        }
        return {index: envelope for index, envelope in self.unconfirmed.items() if index not in refused}

    def _attempt(self, left: dict[int, Envelope], deadline: float) -> dict[int, PublishError]:
        errors: dict[int, PublishError] = {}
        groups: dict[tuple[str, str], dict[int, Envelope]] = {}
        # A message that may have caused a closure comes last.
        for index in sorted(left, key=lambda each: (self._closures[each], each)):
            groups.setdefault((left[index].queue, left[index].routing_key), {})[index] = left[index]
        failure = PublishError("no time left", retryable=True)
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            return dict.fromkeys(left, failure)
        try:
            with closing(Connection(self._configuration, seconds=seconds, blocked_seconds=seconds)) as connection:
                for (queue, routing_key), envelopes in groups.items():
                    channel = Channel(connection, queue, routing_key, deadline=deadline)
                    channel.probe()
                    for refusal in channel.refusals:
                        logger.warning(
                            "The broker refused a declaration for %s, so messages are published without it: %s",
                            queue,
                            refusal,
                        )
                    self._publish(connection, channel, envelopes, errors, deadline)
        except Exception as error:
            failure = as_publish_error(error)
        return dict.fromkeys(left.keys() & self.unconfirmed.keys(), failure) | errors

    def _publish(
        self,
        connection: Connection,
        channel: Channel,
        envelopes: dict[int, Envelope],
        errors: dict[int, PublishError],
        deadline: float,
    ) -> None:
        """Publish the messages of one queue together, but one by one those that may have caused a closure."""
        together = [index for index in envelopes if not self._closures[index]]
        self._publish_together(connection, channel, {index: envelopes[index] for index in together}, errors, deadline)
        for index, envelope in envelopes.items():
            if index in self.unconfirmed and self._closures[index] and _is_open(errors.get(index)):
                channel.reopen()
                self._publish_together(connection, channel, {index: envelope}, errors, deadline)

    def _publish_together(
        self,
        connection: Connection,
        channel: Channel,
        envelopes: dict[int, Envelope],
        errors: dict[int, PublishError],
        deadline: float,
    ) -> None:
        for index, envelope in envelopes.items():
            channel.publish(envelope, partial(self._settle, errors, index))
        try:
            connection.require(channel.is_settled, deadline)
        except PublishError as error:
            if connection.is_refused:
                left = envelopes.keys() & self.unconfirmed.keys()
                self._closures.update(left)
                if len(envelopes) == 1:
                    errors |= dict.fromkeys(left, PublishError(str(error), retryable=False, is_refusal=True))
            raise
        if channel.is_closed:
            self._closures.update(envelopes.keys() & self.unconfirmed.keys())

    def _settle(self, errors: dict[int, PublishError], index: int, error: PublishError | None) -> None:
        if error is not None:
            errors[index] = error
        else:
            del self.unconfirmed[index]
            self._on_confirmed(index)
