"""
The message on the interservice bus that a task has failed, and how it is published without being lost.

Runs in: worker, once a task has failed, and DAG processor, once a run has. Consumers depend on the names and keys, see
"Messages" in the documentation.
"""

import logging
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from dkist_processing_core.common.redaction import redact_urls
from dkist_processing_core.common.settings import isb_enabled
from dkist_processing_core.isb import spool
from dkist_processing_core.isb.envelope import Envelope
from dkist_processing_core.isb.failures import reported
from dkist_processing_core.isb.failures.failure import Failure

__all__ = [
    "ConfiguredProducer",
    "Producer",
    "RecipeRunFailureMessage",
    "RecipeRunFailureMessageBody",
    "message_of",
    "report",
]

logger = logging.getLogger(__name__)

LEAST_SECONDS = 1.0
# A busy machine exceeds these limits, and the callback must return within 10 s.
SPARE_SECONDS = 2.0


class RecipeRunFailureMessageBody(BaseModel):
    """
    Body of the message that a task has failed.

    The names of the first six keys never change, since consumers read them. An unknown value is null.
    """

    model_config = ConfigDict(extra="allow")

    conversationId: str = Field(default_factory=lambda: uuid.uuid4().hex, description="32 hexadecimal digits.")
    workflowName: str = Field(description="Name of the workflow.")
    workflowVersion: str = Field(description="Version of the workflow.")
    taskName: str = Field(description="Name of the task that failed.")
    dagRunId: str | None = Field(default=None, description="Airflow's id of the run.")
    logUrl: str | None = Field(default=None, description="Where the log of the task can be read.")
    dagId: str | None = Field(default=None, description="Airflow's id of the DAG.")
    recipeRunId: int | str | None = Field(default=None, description="The recipe run that the run was triggered with.")
    tryNumber: int | None = Field(default=None, description="Number of the try that failed, from 1.")
    mapIndex: int | None = Field(default=None, description="Airflow's map index of a mapped task.")
    host: str | None = Field(default=None, description="Name of the worker.")
    exitCode: int | None = Field(default=None, description="Exit status of the task.")
    signal: str | None = Field(default=None, description="Name of the signal that ended the task.")
    error: str | None = Field(default=None, description="Last lines of the error.")
    traceId: str | None = Field(default=None, description="Id of the trace, with telemetry.")
    transactionId: str | None = Field(default=None, description="Id of the transaction, or root span, with telemetry.")
    environmentIdentity: str | None = Field(default=None, description="Identity of the environment of the task.")


class RecipeRunFailureMessage:
    """
    The message that a task has failed.

    Parameters
    ----------
    body
        The body, or a mapping or JSON text to make it from.
    message_id
        Id of the message (AMQP ``message-id``). Duplicates carry the same id. The default is the ``conversationId`` of
        the body.

    Raises
    ------
    pydantic.ValidationError
        If a key of the body is missing or has a value of the wrong type. It is also a `ValueError`.
    """

    message_body_cls = RecipeRunFailureMessageBody
    default_routing_key = "recipe.run.failure.m"
    queue = "recipe.run.failure.q"
    message_type = "recipe.run.failure"

    def __init__(
        self, body: RecipeRunFailureMessageBody | dict[str, Any] | str | bytes, message_id: str | None = None
    ) -> None:
        if isinstance(body, (str, bytes)):
            self.body = self.message_body_cls.model_validate_json(body)
        else:
            self.body = self.message_body_cls.model_validate(body)
        self.routing_key = self.default_routing_key
        self.message_id = message_id or self.body.conversationId
        self.timestamp = int(time.time())

    def envelope(self) -> Envelope:
        """Return the message with its routing key, its queue and its AMQP properties."""
        return Envelope(
            routing_key=self.routing_key,
            queue=self.queue,
            body=self.body.model_dump_json(),
            message_id=self.message_id,
            type=self.message_type,
            timestamp=self.timestamp,
        )

    @property
    def properties(self) -> Any:
        """The AMQP properties of the message, pika's, for a producer of talus."""
        from dkist_processing_core.isb.channel import message_properties

        return message_properties(self.envelope())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.body!r})"


class Producer(Protocol):
    """What publishes a message, and raises if the broker has not confirmed it."""

    def publish(self, message: RecipeRunFailureMessage) -> object:
        """Publish one message."""


class ConfiguredProducer:
    """Publishes to the configured interservice bus, and then sends the pending messages of the spool folder."""

    def publish(self, message: RecipeRunFailureMessage) -> None:
        """Publish one message, or raise a `PublishError`, or a `ValueError` if a setting of the bus is invalid."""
        from dkist_processing_core.isb.publisher import TOTAL_SECONDS, PublishError, publish

        deadline = time.monotonic() + TOTAL_SECONDS
        try:
            publish(message.envelope())
        except PublishError as error:
            if error.is_refusal:  # the broker is up, so the others can be sent
                _send_pending(deadline)
            raise
        _send_pending(deadline)


def _send_pending(deadline: float) -> None:
    """Send pending messages in the remaining time, since the broker is up."""
    from dkist_processing_core.isb.pending import send_pending

    if (seconds := deadline - SPARE_SECONDS - time.monotonic()) < LEAST_SECONDS:
        return
    try:
        sent = send_pending(seconds=seconds)
    except Exception as error:
        logger.warning("Pending messages could not be sent: %s: %s", type(error).__name__, error)
    else:
        if sent.sent or sent.pending_count:
            logger.info("%d pending messages were sent, %d remain", len(sent.sent), sent.pending_count)


def message_of(failure: Failure) -> RecipeRunFailureMessage:
    """Return the message about a failure."""
    return RecipeRunFailureMessage(
        {
            "conversationId": failure.message_id,
            "workflowName": failure.workflow_name,
            "workflowVersion": failure.workflow_version,
            "taskName": failure.task_name,
            "dagRunId": failure.run_id,
            "logUrl": failure.log_url,
            "dagId": failure.dag_id,
            "recipeRunId": failure.recipe_run_id,
            "tryNumber": failure.try_number,
            "mapIndex": failure.map_index,
            "host": failure.host,
            "exitCode": failure.exit_status,
            "signal": failure.signal,
            "error": failure.error,
            "traceId": failure.trace_id,
            "transactionId": failure.transaction_id,
            "environmentIdentity": failure.environment_identity,
        }
    )


def report(
    failure: Failure,
    message: RecipeRunFailureMessage,
    producer_factory: Callable[[], AbstractContextManager[Producer]],
) -> bool:
    """
    Publish or spool the message about a failure, and return whether that was done.

    It is not done if the failure is already reported, or if there is no bus (``DKIST_ISB_ENABLED``).
    """
    if not isb_enabled():
        logger.info("The failure of task %s is not reported, since DKIST_ISB_ENABLED is false", failure.task_name)
        return False
    if failure.is_lost and reported.is_reported(failure):
        logger.info("The failure of task %s is already reported", failure.task_name)
        return False
    try:
        with producer_factory() as producer:
            producer.publish(message)
        logger.info("Failure message %s was published", message.message_id)
    except Exception as error:
        if not _spool(message, redact_urls(f"{type(error).__name__}: {error}")):
            return False
    reported.remember(failure)
    return True


def _spool(message: RecipeRunFailureMessage, reason: str) -> bool:
    try:
        file = spool.write(message.envelope())
    except Exception as error:
        logger.error(
            "Failure message %s could neither be published (%s) nor spooled (%s: %s). Forward it by hand: %s",
            message.message_id,
            reason,
            type(error).__name__,
            error,
            message.body.model_dump_json(),
        )
        return False
    logger.warning(
        "Failure message %s could not be published: %s. It is spooled in %s, and is sent after the next message that "
        "the broker confirms, or by: dkist-processing-core messages send",
        message.message_id,
        reason,
        file,
    )
    return True
