"""
Publish messages to RabbitMQ with pika, confirmed by the broker, in bounded time.

Runs in: worker, DAG processor. pika's blocking connection waits for a confirmation without a limit, so the connection
used here is the event-driven one, whose loop our own timer can end whatever the peer does or does not do. Protocol:
AMQP 0-9-1 with RabbitMQ's publisher confirms.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from dkist_processing_core.common import test_mode
from dkist_processing_core.exceptions import ConfigurationError
from dkist_processing_core.isb.attempt import Attempt
from dkist_processing_core.isb.connection import PublishError, connection_parameters, explained, quiet_pika
from dkist_processing_core.isb.envelope import Envelope
from dkist_processing_core.isb.settings import InterserviceBusConfiguration

__all__ = ["TOTAL_SECONDS", "PublishError", "deliver", "publish"]

TOTAL_SECONDS = 7.5
PAUSE_SECONDS = 0.5
LEAST_SECONDS = 1.0
OPENING_SHARE = 0.9
BEYOND_SECONDS = 0.5


def publish(envelope: Envelope, *, seconds: float = TOTAL_SECONDS) -> None:
    """
    Publish one message and return once the broker has confirmed it.

    Parameters
    ----------
    envelope
        The message.
    seconds
        Limit of the whole call.

    Raises
    ------
    PublishError
        If it was not confirmed.
    ConfigurationError
        If a setting of the bus cannot be used.
    """
    for error in deliver([envelope], seconds=seconds).values():
        raise error


def deliver(
    envelopes: Sequence[Envelope],
    *,
    seconds: float = TOTAL_SECONDS,
    on_confirmed: Callable[[Envelope], object] = lambda _: None,
) -> dict[int, PublishError]:
    """
    Publish messages until the broker has confirmed or refused each of them, or the time is over.

    Exchange, queues and bindings are declared first. A broker that cannot be reached is tried again until the time is
    over; what trying again cannot mend is not. One message that is refused does not hold up the others.

    Parameters
    ----------
    envelopes
        The messages.
    seconds
        Limit of the whole call.
    on_confirmed
        Called with each message as soon as the broker has confirmed it, in a thread of ours.

    Returns
    -------
    dict of int to PublishError
        Why messages were not confirmed, by their place in ``envelopes``; empty if all is well.

    Raises
    ------
    ConfigurationError
        If a setting of the bus cannot be used.
    """
    if doubles := test_mode.active():
        return _hand_over(doubles.deliver, envelopes, on_confirmed)
    configuration = _configuration()
    broker = configuration.isb_mesh_service
    work = _Delivery(configuration, envelopes, seconds, on_confirmed)
    # What pika starts on the way, such as a thread that waits for the name service, is then a daemon as well and keeps
    # no process alive; and should anything in there hang all the same, it is left behind.
    thread = threading.Thread(target=work.run, name="dkist-isb-publisher", daemon=True)
    thread.start()
    thread.join(seconds + BEYOND_SECONDS)
    return {
        index: PublishError(f"interservice bus at {broker.host}:{broker.port}: {error}", can_pass=error.can_pass)
        for index, error in work.errors().items()
    }


def _hand_over(
    take: Callable[[Envelope], object], envelopes: Sequence[Envelope], on_confirmed: Callable[[Envelope], object]
) -> dict[int, PublishError]:
    errors = {}
    for index, envelope in enumerate(envelopes):
        try:
            take(envelope)
        except PublishError as error:
            errors[index] = error
        else:
            on_confirmed(envelope)
    return errors


def _configuration() -> InterserviceBusConfiguration:
    try:
        return InterserviceBusConfiguration()
    except ValidationError as error:
        # Its own text takes several lines and ends with an address of pydantic's.
        raise ConfigurationError("; ".join(_fault(each) for each in error.errors())) from None


def _fault(error: Mapping[str, Any]) -> str:
    own = error.get("ctx", {}).get("error")
    return str(own) if own else f"{'.'.join(map(str, error['loc'])).upper()}: {error['msg']}"


class _Delivery:
    """Attempts, one after the other, until nothing is left that another one could deliver."""

    def __init__(
        self,
        configuration: InterserviceBusConfiguration,
        envelopes: Sequence[Envelope],
        seconds: float,
        on_confirmed: Callable[[Envelope], object],
    ) -> None:
        self._configuration = configuration
        self._envelopes = envelopes
        self._seconds = seconds
        self._on_confirmed = on_confirmed
        self._confirmed: set[int] = set()
        self._errors: dict[int, PublishError] = {}

    def run(self) -> None:
        """Make attempts until all is settled or the time is over."""
        deadline = time.monotonic() + self._seconds
        with quiet_pika():
            while left := self._left():
                self._errors |= self._attempt(left, deadline - time.monotonic())
                # An attempt that has hardly any time would say no more than that, in place of what was wrong.
                if deadline - time.monotonic() <= PAUSE_SECONDS + LEAST_SECONDS:
                    return
                if self._left():
                    time.sleep(PAUSE_SECONDS)

    def _left(self) -> dict[int, Envelope]:
        """Return the messages that are neither confirmed nor refused for good."""
        return {
            index: envelope
            for index, envelope in enumerate(self._envelopes)
            if index not in self._confirmed and (index not in self._errors or self._errors[index].can_pass)
        }

    def _attempt(self, left: dict[int, Envelope], seconds: float) -> dict[int, PublishError]:
        if seconds <= 0:
            return dict.fromkeys(left, PublishError("no time left", can_pass=True))
        try:
            parameters = connection_parameters(self._configuration, seconds=OPENING_SHARE * seconds)
            return Attempt(parameters, self._configuration, left, seconds, self._confirm).run()
        except ConfigurationError as error:
            failure = PublishError(str(error), can_pass=False)
        except Exception as error:
            failure = explained(error)
        return dict.fromkeys(set(left) - self._confirmed, failure)

    def _confirm(self, index: int) -> None:
        self._confirmed.add(index)
        self._on_confirmed(self._envelopes[index])

    def errors(self) -> dict[int, PublishError]:
        """Return why messages were not confirmed."""
        silence = PublishError(f"no answer within {self._seconds:.0f} s", can_pass=True)
        everything = range(len(self._envelopes))
        return {index: self._errors.get(index, silence) for index in everything if index not in self._confirmed}
