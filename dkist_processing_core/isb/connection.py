"""
How the interservice bus is reached with pika, and what it means when it is not.

Runs in: worker, DAG processor, task environment; in each only once there is something to send.
"""

import logging
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pika
from pika.exceptions import (
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    IncompatibleProtocolError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from dkist_processing_core.exceptions import ConfigurationError, DKISTProcessingCoreError
from dkist_processing_core.isb.envelope import Envelope
from dkist_processing_core.isb.settings import InterserviceBusConfiguration

__all__ = [
    "APP_ID",
    "Connection",
    "PublishError",
    "connection_parameters",
    "explained",
    "message_properties",
    "quiet_pika",
]

APP_ID = "dkist-processing-core"

# Reply codes of AMQP 0-9-1 that trying again does not mend, with what to check.
REMEDIES = {
    403: "check ISB_USERNAME, ISB_PASSWORD and what the user may do",
    404: "check ISB_EXCHANGE and that the exchange is there",
    406: "it is already there with other properties; check ISB_EXCHANGE and ISB_QUEUE_TYPE",
    530: "check DKIST_ISB_VIRTUAL_HOST and what the user may do there",
}
TLS_REMEDY = "check DKIST_ISB_TLS, DKIST_ISB_CA_FILE, and the host name in MESH_CONFIG"
# What a balancer in front of a broker that is down does, for instance.
HUNG_UP = (ssl.SSLEOFError, ssl.SSLSyscallError, ssl.SSLZeroReturnError)


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


def message_properties(envelope: Envelope) -> pika.BasicProperties:
    """Return the properties that a message is published with."""
    return pika.BasicProperties(
        content_type="text/plain",
        content_encoding="UTF-8",
        delivery_mode=pika.DeliveryMode.Persistent,
        priority=0,
        message_id=envelope.message_id,
        app_id=APP_ID,
        type=envelope.type or None,
        timestamp=envelope.timestamp or None,
    )


class Connection(pika.SelectConnection):
    """A connection that can be dropped without the peer's consent."""

    def drop(self) -> None:
        """Close the socket. The callback for a closed connection follows."""
        # The method is what pika asks its adapters to implement for this; nothing public does it.
        self._adapter_disconnect_stream()


def connection_parameters(configuration: InterserviceBusConfiguration, *, seconds: float) -> pika.ConnectionParameters:
    """
    Return what pika needs to connect to the interservice bus.

    Parameters
    ----------
    configuration
        The settings.
    seconds
        Limit of every step of connecting, and of being blocked by the broker.

    Raises
    ------
    ConfigurationError
        If the file with the certificates to trust cannot be used.
    """
    broker = configuration.isb_mesh_service
    return pika.ConnectionParameters(
        host=broker.host,
        port=broker.port,
        virtual_host=configuration.isb_virtual_host,
        credentials=pika.PlainCredentials(configuration.isb_username, configuration.isb_password),
        ssl_options=_ssl_options(configuration) if configuration.isb_tls else None,
        connection_attempts=1,
        retry_delay=0,
        socket_timeout=seconds,
        stack_timeout=seconds,
        blocked_connection_timeout=seconds,
        client_properties={"connection_name": configuration.isb_connection_name},
    )


def _ssl_options(configuration: InterserviceBusConfiguration) -> pika.SSLOptions:
    try:
        context = ssl.create_default_context(cafile=configuration.isb_ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigurationError(
            f"DKIST_ISB_CA_FILE {str(configuration.isb_ca_file)!r} cannot be used: {error}. "
            "It must be a file with certificates (PEM)."
        ) from error
    return pika.SSLOptions(context, configuration.isb_mesh_service.host)


def explained(error: BaseException) -> PublishError:
    """Return the error of pika, or of what is below it, in the words of whoever has to mend it."""
    if isinstance(error, (ChannelClosedByBroker, ConnectionClosedByBroker)):
        remedy = REMEDIES.get(error.reply_code)
        text = f"{error.reply_code} {error.reply_text}"
    else:
        cause = _innermost(error)
        text = f"{type(cause).__name__}: {cause}"
        remedy = None
        if isinstance(error, ProbableAuthenticationError):
            remedy = REMEDIES[403]
        elif isinstance(error, ProbableAccessDeniedError):
            remedy = REMEDIES[530]
        elif isinstance(cause, HUNG_UP):
            return PublishError(f"{text} (is the broker up, and does it speak TLS at this port?)", can_pass=True)
        elif isinstance(cause, ssl.SSLError):
            remedy = TLS_REMEDY
        elif isinstance(error, IncompatibleProtocolError):
            return PublishError(f"{text} (is there a broker at this port, and does it want TLS?)", can_pass=True)
    return PublishError(f"{text} ({remedy})" if remedy else text, can_pass=remedy is None)


def _innermost(error: BaseException) -> BaseException:
    """Return the cause; pika wraps it, as an argument or in an attribute, sometimes several deep."""
    while True:
        wrapped = [*getattr(error, "exceptions", ()), getattr(error, "exception", None), *error.args]
        inner = next((each for each in wrapped if isinstance(each, BaseException)), None)
        if inner is None:
            return error
        error = inner


class _Quiet:
    """How many threads want silence, and the level that the logger had before the first of them."""

    lock = threading.Lock()
    wanted = 0
    level = logging.NOTSET


@contextmanager
def quiet_pika() -> Iterator[None]:
    """Keep pika from writing a page about each failed attempt to the log of the task that failed already."""
    pika_logger = logging.getLogger("pika")
    with _Quiet.lock:
        _Quiet.wanted += 1
        if _Quiet.wanted == 1:
            _Quiet.level = pika_logger.level
            pika_logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        with _Quiet.lock:
            _Quiet.wanted -= 1
            if _Quiet.wanted == 0:
                pika_logger.setLevel(_Quiet.level)
