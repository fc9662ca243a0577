"""
Tell the interservice bus that a task has failed.

Runs in: scheduler, which loads this module with every exported DAG at every parse, and worker, where Airflow calls
back. So it is small and loads nothing but the standard library; the rest is imported once a task has failed.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from typing import Any

    from dkist_processing_core.isb.failures.message import Producer
    from dkist_processing_core.isb.messages import RecipeRunFailureMessage, RecipeRunFailureMessageBody

__all__ = [
    "RecipeRunFailureMessage",
    "RecipeRunFailureMessageBody",
    "attribute",
    "chat_ops_notification",
    "dag_run_failure_notification",
    "parse_dag_run_id_from_context",
    "parse_log_url_from_context",
    "recipe_run_failure_message_producer_factory",
]

logger = logging.getLogger(__name__)


def __getattr__(name: str) -> object:
    if name in {"RecipeRunFailureMessage", "RecipeRunFailureMessageBody"}:
        from dkist_processing_core.isb import messages

        return getattr(messages, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@contextmanager
def recipe_run_failure_message_producer_factory() -> Iterator[Producer]:
    """Yield what publishes failure messages to the interservice bus that the settings name."""
    from dkist_processing_core.isb.failures.message import ConfiguredProducer

    yield ConfiguredProducer()


def parse_dag_run_id_from_context(context: Mapping[str, Any]) -> str | None:
    """Return Airflow's id of the run, None if the context does not tell it."""
    run_id = context.get("run_id")
    if run_id is None:
        run_id = attribute(context.get("dag_run"), "run_id")
    return None if run_id is None else str(run_id)


def parse_log_url_from_context(context: Mapping[str, Any]) -> str | None:
    """Return the address of the log of the task, None if the context does not tell it."""
    log_url = attribute(context.get("task_instance"), "log_url")
    return None if log_url is None else str(log_url)


def attribute(thing: object, name: str) -> Any:
    """Return an attribute of one of Airflow's objects, None if it has none; some are computed, and that may fail."""
    try:
        return getattr(thing, name, None)
    except Exception as error:
        logger.warning("Airflow cannot tell %s: %s: %s", name, type(error).__name__, error)
        return None


def chat_ops_notification(
    context: Mapping[str, Any],
    workflow_name: str,
    workflow_version: str,
    task_name: str,
    producer_factory: Callable[[], AbstractContextManager[Producer]] = recipe_run_failure_message_producer_factory,
) -> RecipeRunFailureMessage | None:
    """
    Publish a message that a task has failed, for the chat channel. To be used as ``on_failure_callback`` of a task.

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
        from dkist_processing_core.isb.failures.message import message_from_context, publish_or_keep
        from dkist_processing_core.isb.failures.reported import is_repetition, remember

        message = message_from_context(context, workflow_name, workflow_version, task_name)
        if is_repetition(context, message.message_id):
            logger.info("The failure of task %s is reported already, as %s", task_name, message.message_id)
        elif publish_or_keep(message, producer_factory):
            remember(context, message.message_id)
    except Exception:
        logger.exception("The failure of task %s of %s %s is not reported", task_name, workflow_name, workflow_version)
        return None
    return message


def dag_run_failure_notification(
    context: Mapping[str, Any],
    workflow_name: str,
    workflow_version: str,
    producer_factory: Callable[[], AbstractContextManager[Producer]] = recipe_run_failure_message_producer_factory,
) -> list[RecipeRunFailureMessage]:
    """
    Publish what the tasks of a failed run could not say. To be used as ``on_failure_callback`` of a DAG.

    When Airflow's own process of a task is killed, the callback of the task is not called. That of the DAG is, once the
    run has ended as failed. It publishes a message for each failed task of which there was none, and nothing else. It
    returns within 10 seconds for each message and never raises.

    Parameters
    ----------
    context
        What Airflow passes to a callback.
    workflow_name, workflow_version
        What has failed.
    producer_factory
        Returns a context manager whose value has ``publish(message)``.

    Returns
    -------
    list of RecipeRunFailureMessage
        The messages.
    """
    messages = []
    try:
        from dkist_processing_core.isb.failures.lost import unreported_failures
        from dkist_processing_core.isb.failures.message import publish_or_keep

        for message in unreported_failures(context, workflow_name, workflow_version):
            publish_or_keep(message, producer_factory)
            messages.append(message)
    except Exception:
        logger.exception("What failed in the run of %s %s is not looked at", workflow_name, workflow_version)
    return messages
