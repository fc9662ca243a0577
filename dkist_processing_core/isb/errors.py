"""
Why a message was not published, in terms that say what to check.

Runs in: worker, DAG processor, task environment; in each only once there is something to publish.
"""

import ssl

from pika.adapters.utils.connection_workflow import AMQPConnectorStackTimeout
from pika.exceptions import (
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    ConnectionOpenAborted,
    IncompatibleProtocolError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from dkist_processing_core.exceptions import ConfigurationError, DKISTProcessingCoreError

__all__ = ["PublishError", "as_publish_error"]

# Reply codes of AMQP 0-9-1 for which a retry is pointless, with what to check.
REMEDIES = {
    403: "check ISB_USERNAME, ISB_PASSWORD and the permissions of the user",
    404: "check ISB_EXCHANGE and that the exchange exists",
    406: "it exists with other properties; check ISB_EXCHANGE and ISB_QUEUE_TYPE",
    530: "check DKIST_ISB_VIRTUAL_HOST and the permissions of the user there",
}
TLS_REMEDY = "check DKIST_ISB_TLS, DKIST_ISB_CA_FILE, and the host name in MESH_CONFIG"
# A load balancer in front of a broker that is down ends connections like this.
PEER_CLOSED = (ssl.SSLEOFError, ssl.SSLSyscallError, ssl.SSLZeroReturnError)


class PublishError(DKISTProcessingCoreError):
    """
    The broker has not confirmed a message.

    Attributes
    ----------
    retryable
        Whether a retry may succeed; it cannot with a wrong password, for example.
    is_refusal
        Whether the reason is this message, so that others may still be accepted.
    """

    def __init__(self, reason: str, *, retryable: bool, is_refusal: bool = False) -> None:
        self.retryable = retryable
        self.is_refusal = is_refusal
        super().__init__(reason)


def as_publish_error(error: BaseException) -> PublishError:
    """Return any error of an attempt to publish as a `PublishError`, with what to check and whether to retry."""
    if isinstance(error, PublishError):
        return error
    if isinstance(error, ConfigurationError):
        return PublishError(str(error), retryable=False)
    if isinstance(error, (ChannelClosedByBroker, ConnectionClosedByBroker)):
        text, remedy = f"{error.reply_code} {error.reply_text}", REMEDIES.get(error.reply_code)
        return PublishError(f"{text} ({remedy})" if remedy else text, retryable=remedy is None)
    cause = _innermost(error)
    remedy, retryable = "", True
    if isinstance(error, ProbableAuthenticationError):
        remedy, retryable = REMEDIES[403], False
    elif isinstance(error, ProbableAccessDeniedError):
        remedy, retryable = REMEDIES[530], False
    elif isinstance(cause, PEER_CLOSED):
        remedy = "is the broker up, and does it accept TLS at this port?"
    elif isinstance(cause, ssl.SSLError):
        remedy, retryable = TLS_REMEDY, False
    elif isinstance(error, IncompatibleProtocolError):
        remedy = "is there a broker at this port, and does it require TLS?"
    text = f"{type(cause).__name__}: {cause}"
    if isinstance(cause, (AMQPConnectorStackTimeout, ConnectionOpenAborted)):  # pika's text is about itself
        text = "the server at this port did not answer as a broker does before the time limit"
    return PublishError(f"{text} ({remedy})" if remedy else text, retryable=retryable)


def _innermost(error: BaseException) -> BaseException:
    """Return the original error. pika wraps it as an argument or in an attribute, sometimes several levels deep."""
    while True:
        wrapped = [*getattr(error, "exceptions", ()), getattr(error, "exception", None), *error.args]
        inner = next((each for each in wrapped if isinstance(each, BaseException)), None)
        if inner is None:
            return error
        error = inner
