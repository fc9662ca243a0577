"""
A connection to RabbitMQ, in which every call has a time limit.

Runs in: worker, DAG processor, task environment; in each only once there is something to publish. pika's blocking
connection waits for a confirmation without a limit. So this module uses its event-driven connection, and runs its loop
step by step. Protocol: AMQP 0-9-1. This is the only module that uses private parts of pika.
"""

import logging
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pika
from pika.exceptions import ConnectionClosedByBroker

from dkist_processing_core.exceptions import ConfigurationError
from dkist_processing_core.isb.errors import PublishError, as_publish_error
from dkist_processing_core.isb.settings import InterserviceBusConfiguration

__all__ = ["Connection", "disable_pika_logs", "tls_context"]

# pika's own time limit for opening a connection is shorter than ours, so that pika reports the step that failed.
OPENING_SHARE = 0.9
STEP_SECONDS = 0.05
GOODBYE_SECONDS = 0.5
TIDY_STEPS, TIDY_SECONDS = 3, 0.01
# The reply code of AMQP 0-9-1 which says that an operator has closed the connection, for example to stop the broker.
CONNECTION_FORCED = 320
# pika resolves names in a thread of its own. What it logs there is also raised as an exception.
RESOLVER_LOGGER = "pika.adapters.utils.selector_ioloop_adapter"


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
            if not self.transport.is_closed:
                # It does not answer, or was not open yet. pika's adapters implement this method; there is no public way
                # to close the socket without an answer.
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
    """Do nothing: the state of the connection is checked instead."""


_here = threading.local()


def disable_pika_logs() -> None:
    """Keep pika from logging a page about each failure in the current thread, since the error is also raised."""
    _here.is_disabled = True
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("pika."):
            logging.getLogger(name).addFilter(_is_logged)


def _is_logged(record: logging.LogRecord) -> bool:
    return record.name != RESOLVER_LOGGER and not getattr(_here, "is_disabled", False)
