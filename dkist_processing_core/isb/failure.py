"""
Make the message that a task has failed, and see to it that it is not lost.

Runs in: worker, once a task has failed.
"""

import json
import logging
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any, Protocol

from dkist_processing_core.failure_callback import parse_dag_run_id_from_context, parse_log_url_from_context
from dkist_processing_core.isb import spool
from dkist_processing_core.isb.messages import RecipeRunFailureMessage

__all__ = ["ConfiguredProducer", "Producer", "message_from_context", "publish_or_keep"]

logger = logging.getLogger(__name__)

# Any fixed value serves to derive the ids of messages from.
MESSAGE_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, RecipeRunFailureMessage.default_routing_key)


class Producer(Protocol):
    """What publishes a message, and raises if the broker has not confirmed it."""

    def publish(self, message: RecipeRunFailureMessage) -> object:
        """Publish one message."""


class ConfiguredProducer:
    """Publishes to the interservice bus that the settings name."""

    def publish(self, message: RecipeRunFailureMessage) -> None:
        """
        Publish one message.

        Raises
        ------
        PublishError
            If the broker has not confirmed it in time.
        """
        from dkist_processing_core.isb.publisher import publish

        publish([message.envelope()])


def message_from_context(
    context: Mapping[str, Any], workflow_name: str, workflow_version: str, task_name: str
) -> RecipeRunFailureMessage:
    """Return the message for what Airflow tells a callback."""
    message_id = _message_id(context, workflow_name, workflow_version, task_name)
    return RecipeRunFailureMessage(
        {
            "conversationId": message_id,
            "workflowName": workflow_name,
            "workflowVersion": workflow_version,
            "taskName": task_name,
            "dagRunId": parse_dag_run_id_from_context(context),
            "logUrl": parse_log_url_from_context(context),
        },
        message_id=message_id,
    )


def _message_id(context: Mapping[str, Any], *what: str) -> str:
    """Return the id of the message for one failure: the same for the same try of the same task, and for no other."""
    run_id = parse_dag_run_id_from_context(context)
    if run_id is None:
        return uuid.uuid4().hex
    instance = context.get("task_instance")
    facts: list[object] = [*what, run_id]
    for name in ("map_index", "try_number"):
        with suppress(Exception):  # some of Airflow's attributes are computed, and that may fail
            facts.append(getattr(instance, name, None))
    return uuid.uuid5(MESSAGE_NAMESPACE, json.dumps(facts, default=str)).hex


def publish_or_keep(
    message: RecipeRunFailureMessage, producer_factory: Callable[[], AbstractContextManager[Producer]]
) -> None:
    """Publish a message; keep it in the spool folder if that fails, and log it whole if that fails too."""
    text = message.body.model_dump_json()
    try:
        with producer_factory() as producer:
            producer.publish(message)
        logger.info("Failure message published: %s", text)
    except Exception as error:
        logger.error("Failure message not published: %s: %s", type(error).__name__, error)
        _keep(message, text)


def _keep(message: RecipeRunFailureMessage, text: str) -> None:
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
