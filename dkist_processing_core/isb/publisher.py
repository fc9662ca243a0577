"""
Publish messages to RabbitMQ with pika, confirmed by the broker, in bounded time.

Runs in: worker, DAG processor.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial

from dkist_processing_core.common import test_mode
from dkist_processing_core.isb.amqp import Channel, Connection, disable_pika_logs
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
    """Publish one message, or raise the `PublishError` that `deliver` returns, within a limit of the whole call."""
    for error in deliver([envelope], seconds=seconds).values():
        raise error


def deliver(
    envelopes: Sequence[Envelope], *, seconds: float = TOTAL_SECONDS, on_confirmed: OnConfirmed = lambda _: None
) -> dict[int, PublishError]:
    """
    Publish messages until the broker has confirmed or refused each of them, or the time is over.

    Exchange, queues and bindings are declared first. A broker that cannot be reached is tried again until the time is
    over; an error for which a retry is pointless is not. One message that is refused does not delay the others. A
    function is called in another thread with the index of each message as soon as the broker has confirmed it.

    The result says why messages were not confirmed, by their index; it is empty if all were. If a setting of the bus
    cannot be used, a `ConfigurationError` is raised.
    """
    if doubles := test_mode.active():
        return _hand_over(doubles.deliver, envelopes, on_confirmed)
    configuration = isb_configuration()
    broker = configuration.isb_mesh_service
    delivery = _Delivery(configuration, envelopes, on_confirmed)
    # A daemon thread, because the threads that pika starts, such as one for the name service, are then daemons as well
    # and keep no process alive. Should anything hang in spite of all limits, the thread is abandoned.
    thread = threading.Thread(target=delivery.run, args=[seconds], name="dkist-isb-publisher", daemon=True)
    thread.start()
    thread.join(seconds + BEYOND_SECONDS)
    errors = {}
    for index in list(delivery.unconfirmed):
        error = delivery.errors.get(index) or PublishError(f"no answer within {seconds:.0f} s", retryable=True)
        reason = f"interservice bus at {broker.host}:{broker.port}: {error}"
        errors[index] = PublishError(reason, retryable=error.retryable)
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


class _Delivery:
    """Attempts, one after the other, until nothing is left that another one could deliver."""

    def __init__(
        self, configuration: InterserviceBusConfiguration, envelopes: Sequence[Envelope], on_confirmed: OnConfirmed
    ) -> None:
        self._configuration = configuration
        self._on_confirmed = on_confirmed
        # Messages that are not confirmed, and why, by index.
        self.unconfirmed = dict(enumerate(envelopes))
        self.errors: dict[int, PublishError] = {}

    def run(self, seconds: float) -> None:
        """Make attempts until everything is settled or the time is over."""
        deadline = time.monotonic() + seconds
        disable_pika_logs()
        while left := self._left():
            self.errors |= self._attempt(left, deadline)
            # An attempt with hardly any time would only replace the actual error by a timeout.
            if deadline - time.monotonic() <= PAUSE_SECONDS + LEAST_SECONDS:
                return
            if self._left():
                time.sleep(PAUSE_SECONDS)

    def _left(self) -> dict[int, Envelope]:
        """Return the messages that are neither confirmed nor refused for good."""
        refused = {index for index, error in self.errors.items() if not error.retryable}
        return {index: envelope for index, envelope in self.unconfirmed.items() if index not in refused}

    def _attempt(self, left: dict[int, Envelope], deadline: float) -> dict[int, PublishError]:
        errors: dict[int, PublishError] = {}
        groups: dict[tuple[str, str], dict[int, Envelope]] = {}
        for index, envelope in left.items():
            groups.setdefault((envelope.queue, envelope.routing_key), {})[index] = envelope
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
                        logger.warning("Publishing to %s although a declaration was refused: %s", queue, refusal)
                    for index, envelope in envelopes.items():
                        channel.publish(envelope, partial(self._settle, errors, index))
                    connection.require(channel.is_settled, deadline)
        except Exception as error:
            failure = as_publish_error(error)
        return dict.fromkeys(left.keys() & self.unconfirmed.keys(), failure) | errors

    def _settle(self, errors: dict[int, PublishError], index: int, error: PublishError | None) -> None:
        if error is not None:
            errors[index] = error
        else:
            del self.unconfirmed[index]
            self._on_confirmed(index)
