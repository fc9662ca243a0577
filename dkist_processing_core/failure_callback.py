"""
Tell the interservice bus that a task has failed.

Runs in: scheduler, which loads this module with every exported DAG, and worker, where Airflow calls back. Loading it
costs nothing but the standard library; pydantic and pika are imported once a task has failed.
"""

import json
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from dkist_processing_core.isb.messages import RecipeRunFailureMessage, RecipeRunFailureMessageBody

__all__ = [
    "RecipeRunFailureMessage",
    "RecipeRunFailureMessageBody",
    "chat_ops_notification",
    "parse_dag_run_id_from_context",
    "parse_log_url_from_context",
    "recipe_run_failure_message_producer_factory",
]

logger = logging.getLogger(__name__)

Context = Mapping[str, Any]

# Any fixed value serves to make the ids of messages; this one is uuid5(NAMESPACE_DNS, "recipe.run.failure.m").
MESSAGE_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "recipe.run.failure.m")


class Producer(Protocol):
    """What publishes a message, and raises if the broker has not confirmed it."""

    def publish(self, message: "RecipeRunFailureMessage") -> object:
        """Publish one message."""


ProducerFactory = Callable[[], AbstractContextManager[Producer]]


def __getattr__(name: str) -> object:
    if name in {"RecipeRunFailureMessage", "RecipeRunFailureMessageBody"}:
        from dkist_processing_core.isb import messages

        return getattr(messages, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@contextmanager
def recipe_run_failure_message_producer_factory() -> Iterator[Producer]:
    """Yield what publishes failure messages to the interservice bus that the settings name."""
    from dkist_processing_core.config import DKISTProcessingCoreConfiguration
    from dkist_processing_core.isb.publisher import publish

    class ConfiguredProducer:
        def publish(self, message: "RecipeRunFailureMessage") -> None:
            publish([message.envelope(DKISTProcessingCoreConfiguration())])

    yield ConfiguredProducer()


def parse_dag_run_id_from_context(context: Context) -> str | None:
    """Return Airflow's id of the run, None if the context does not tell it."""
    run_id: str | None = context.get("run_id")
    return run_id if run_id is not None else getattr(context.get("dag_run"), "run_id", None)


def parse_log_url_from_context(context: Context) -> str | None:
    """Return the address of the log of the task, None if the context does not tell it."""
    try:
        log_url: str | None = getattr(context.get("task_instance"), "log_url", None)
    except Exception as error:  # it is a property of Airflow's, computed from settings that may be wrong
        logger.warning("Airflow cannot tell the address of the log: %s", error)
        return None
    return log_url


def message_id_from_context(context: Context, *, workflow: str, task_name: str) -> str:
    """Return the id of the message for one failure: the same for the same try of the same task, and for no other."""
    instance = context.get("task_instance")
    facts = [
        workflow,
        parse_dag_run_id_from_context(context),
        task_name,
        getattr(instance, "map_index", -1),
        getattr(instance, "try_number", None),
    ]
    if facts[1] is None:
        return uuid.uuid4().hex
    return uuid.uuid5(MESSAGE_NAMESPACE, json.dumps(facts, default=str)).hex


def chat_ops_notification(
    context: Context,
    workflow_name: str,
    workflow_version: str,
    task_name: str,
    producer_factory: ProducerFactory = recipe_run_failure_message_producer_factory,
) -> "RecipeRunFailureMessage | None":
    """
    Publish a message that a task has failed, for the chat channel. To be used as Airflow's ``on_failure_callback``.

    What the broker does not take in time is kept in the spool folder, and what cannot be kept there is written to the
    log, whole. It returns within 10 seconds and never raises.

    Parameters
    ----------
    context
        What Airflow passes to a callback.
    workflow_name, workflow_version, task_name
        What has failed.
    producer_factory
        Returns a context manager whose value has ``publish(message)``.

    Returns
    -------
    RecipeRunFailureMessage or None
        The message; None if not even that could be made.
    """
    try:
        message_id = message_id_from_context(
            context, workflow=f"{workflow_name}_{workflow_version}", task_name=task_name
        )
        facts = {
            "conversationId": message_id,
            "workflowName": workflow_name,
            "workflowVersion": workflow_version,
            "taskName": task_name,
            "dagRunId": parse_dag_run_id_from_context(context),
            "logUrl": parse_log_url_from_context(context),
        }
        return _publish_or_keep(facts, message_id, producer_factory)
    except Exception:
        logger.exception("The failure of task %s of %s %s is not reported", task_name, workflow_name, workflow_version)
        return None


def _publish_or_keep(
    facts: dict[str, Any], message_id: str, producer_factory: ProducerFactory
) -> "RecipeRunFailureMessage":
    from dkist_processing_core.isb.messages import RecipeRunFailureMessage

    message = RecipeRunFailureMessage(facts, message_id=message_id)
    try:
        with producer_factory() as producer:
            producer.publish(message)
        logger.info("Failure message published: %s", json.dumps(facts))
    except Exception as error:
        logger.error("Failure message not published: %s: %s", type(error).__name__, error)
        _keep(message, facts)
    return message


def _keep(message: "RecipeRunFailureMessage", facts: dict[str, Any]) -> None:
    try:
        from dkist_processing_core.config import DKISTProcessingCoreConfiguration
        from dkist_processing_core.isb import spool

        kept = spool.keep(message.envelope(DKISTProcessingCoreConfiguration()))
        logger.warning("Failure message kept to be sent later: %s: %s", kept, json.dumps(facts))
    except Exception as error:
        logger.error(
            "Failure message not kept either (%s: %s); this is all there is of it: %s",
            type(error).__name__,
            error,
            json.dumps(facts),
        )
