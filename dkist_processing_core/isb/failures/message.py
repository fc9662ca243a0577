"""
Make the message that a task has failed, and see to it that it is not lost.

Runs in: worker, once a task has failed, and DAG processor, once a run has.
"""

import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from dkist_processing_core.failure_callback import attribute, parse_dag_run_id_from_context
from dkist_processing_core.isb import spool
from dkist_processing_core.isb.failures import context as of_context
from dkist_processing_core.isb.messages import RecipeRunFailureMessage

__all__ = ["ConfiguredProducer", "Producer", "message_from_context", "message_id_of", "publish_or_keep"]

logger = logging.getLogger(__name__)

# Any fixed value serves to derive the ids of messages from.
MESSAGE_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, RecipeRunFailureMessage.default_routing_key)
DRAIN_SECONDS = 1.0


class Producer(Protocol):
    """What publishes a message, and raises if the broker has not confirmed it."""

    def publish(self, message: RecipeRunFailureMessage) -> object:
        """Publish one message."""


class ConfiguredProducer:
    """Publishes to the interservice bus that the settings name, and what waits in the spool folder after it."""

    def publish(self, message: RecipeRunFailureMessage) -> None:
        """
        Publish one message.

        Raises
        ------
        PublishError
            If the broker has not confirmed it in time.
        ValueError
            If a setting of the bus cannot be used.
        """
        from dkist_processing_core.isb.publisher import TOTAL_SECONDS, publish

        deadline = time.monotonic() + TOTAL_SECONDS
        publish(message.envelope(), seconds=TOTAL_SECONDS)
        _send_what_waits(deadline - time.monotonic())


def _send_what_waits(seconds: float) -> None:
    """Use what is left of the time for the messages that could not be sent before; the broker is there."""
    if seconds < DRAIN_SECONDS:
        return
    try:
        from dkist_processing_core.isb.drain import send_waiting

        report = send_waiting(seconds=seconds)
    except Exception as error:
        logger.warning("Waiting messages are not sent: %s: %s", type(error).__name__, error)
        return
    if report.sent or report.kept:
        logger.info("Of the messages that waited %d are sent, %d are not", len(report.sent), len(report.kept))


def message_from_context(
    context: Mapping[str, Any],
    *what: str,
    message_id: str | None = None,
    is_of_this_host: bool = True,
) -> RecipeRunFailureMessage:
    """
    Return the message for what Airflow tells a callback.

    Parameters
    ----------
    context
        What Airflow passes to a callback.
    *what
        Names of the workflow, its version, and the task that has failed.
    message_id
        Id of the message; that of `message_id_of` by default.
    is_of_this_host
        Whether the task ran on this machine; only asked for where Airflow does not tell.
    """
    if message_id is None:
        message_id = message_id_of(context, *what)
    workflow_name, workflow_version, task_name = what
    return RecipeRunFailureMessage(
        {
            "conversationId": message_id,
            "workflowName": workflow_name,
            "workflowVersion": workflow_version,
            "taskName": task_name,
            **of_context.facts(context, is_of_this_host=is_of_this_host),
        },
        message_id=message_id,
    )


def message_id_of(context: Mapping[str, Any], *what: str) -> str:
    """
    Return the id of the message for one failure: the same for the same try of the same task, and for no other.

    Where Airflow does not tell the try, as of a whole run, it is when the run was started that tells a failure from the
    one after somebody has cleared the tasks. Where it does not even tell the run, chance has to do.
    """
    run_id = parse_dag_run_id_from_context(context)
    if run_id is None:
        return uuid.uuid4().hex
    instance = of_context.task_instance(context)
    facts: list[object] = [*what, run_id, attribute(instance, "map_index"), of_context.try_number(context)]
    if of_context.try_number(context) is None:
        facts.append(of_context.run_started(context))
    return uuid.uuid5(MESSAGE_NAMESPACE, json.dumps(facts, default=str)).hex


def publish_or_keep(
    message: RecipeRunFailureMessage, producer_factory: Callable[[], AbstractContextManager[Producer]]
) -> bool:
    """
    Publish a message; keep it in the spool folder if that fails, and log it whole if that fails too.

    Returns
    -------
    bool
        Whether it is published or kept.
    """
    text = message.body.model_dump_json()
    try:
        with producer_factory() as producer:
            producer.publish(message)
        logger.info("Failure message published: %s", text)
    except Exception as error:
        logger.error("Failure message not published: %s: %s", type(error).__name__, error)
        return _keep(message, text)
    return True


def _keep(message: RecipeRunFailureMessage, text: str) -> bool:
    try:
        file = spool.keep(message.envelope())
        logger.warning("Failure message kept to be sent later: %s: %s", file, text)
    except Exception as error:
        logger.error(
            "Failure message not kept either (%s: %s); this is all there is of it: %s",
            type(error).__name__,
            error,
            text,
        )
        return False
    return True
