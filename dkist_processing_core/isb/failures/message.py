"""
Publish the message that a task has failed, without losing it.

Runs in: worker, once a task has failed, and DAG processor, once a run has.
"""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from dkist_processing_core.common.redaction import redact_urls
from dkist_processing_core.isb import spool
from dkist_processing_core.isb.failures import reported
from dkist_processing_core.isb.failures.failure import Failure
from dkist_processing_core.isb.messages import RecipeRunFailureMessage

__all__ = ["ConfiguredProducer", "Producer", "message_of", "report"]

logger = logging.getLogger(__name__)

LEAST_SECONDS = 1.0


class Producer(Protocol):
    """What publishes a message, and raises if the broker has not confirmed it."""

    def publish(self, message: RecipeRunFailureMessage) -> object:
        """Publish one message."""


class ConfiguredProducer:
    """Publishes to the interservice bus of the settings, and then what is pending in the spool folder."""

    def publish(self, message: RecipeRunFailureMessage) -> None:
        """Publish one message, or raise a `PublishError`, or a `ValueError` if a setting of the bus is invalid."""
        from dkist_processing_core.isb.publisher import TOTAL_SECONDS, publish

        deadline = time.monotonic() + TOTAL_SECONDS
        publish(message.envelope(), seconds=TOTAL_SECONDS)
        try:
            _send_pending(deadline - time.monotonic())
        except Exception as error:
            logger.warning("Pending messages could not be sent: %s: %s", type(error).__name__, error)


def _send_pending(seconds: float) -> None:
    """Use the rest of the time for the messages that could not be sent before, now that the broker answers."""
    from dkist_processing_core.isb.drain import send_pending

    if seconds >= LEAST_SECONDS and ((report := send_pending(seconds=seconds)).sent or report.pending):
        logger.info("%d pending messages were sent, %d remain", len(report.sent), len(report.pending))


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
        }
    )


def report(
    failure: Failure,
    message: RecipeRunFailureMessage,
    producer_factory: Callable[[], AbstractContextManager[Producer]],
) -> bool:
    """Publish or spool the message about a failure, unless it is reported already; return whether that was done."""
    if failure.is_lost and reported.is_reported(failure):
        logger.info("The failure of task %s is already reported", failure.task_name)
        return False
    if not _publish_or_spool(message, producer_factory):
        return False
    reported.remember(failure)
    return True


def _publish_or_spool(
    message: RecipeRunFailureMessage, producer_factory: Callable[[], AbstractContextManager[Producer]]
) -> bool:
    try:
        with producer_factory() as producer:
            producer.publish(message)
        logger.info("Failure message %s was published", message.message_id)
    except Exception as error:
        reason = redact_urls(f"{type(error).__name__}: {error}")
    else:
        return True
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
