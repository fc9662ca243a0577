"""
Report failed tasks to the interservice bus.

Runs in: scheduler and DAG processor, which load this module at every parse of an exported DAG; worker and DAG
processor, where Airflow calls the callbacks. So it loads nothing but the standard library; the rest is imported once a
task has failed.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from typing import Any

    from dkist_processing_core.isb.failures.message import (
        Producer,
        RecipeRunFailureMessage,
        RecipeRunFailureMessageBody,
    )

__all__ = [
    "RecipeRunFailureMessage",
    "RecipeRunFailureMessageBody",
    "chat_ops_notification",
    "dag_run_failure_notification",
    "parse_dag_run_id_from_context",
    "parse_log_url_from_context",
    "recipe_run_failure_message_producer_factory",
]

logger = logging.getLogger(__name__)


def __getattr__(name: str) -> object:
    if name in {"RecipeRunFailureMessage", "RecipeRunFailureMessageBody"}:
        from dkist_processing_core.isb.failures import message

        return getattr(message, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@contextmanager
def recipe_run_failure_message_producer_factory() -> Iterator[Producer]:
    """Yield a producer that publishes failure messages to the configured interservice bus."""
    from dkist_processing_core.isb.failures.message import ConfiguredProducer

    yield ConfiguredProducer()


def parse_dag_run_id_from_context(context: Mapping[str, Any]) -> str | None:
    """Return Airflow's id of the run, or None if the context does not contain it."""
    from dkist_processing_core.isb.failures.context import run_id

    return run_id(context)


def parse_log_url_from_context(context: Mapping[str, Any]) -> str | None:
    """Return the URL of the log of the task, or None if the context does not contain it."""
    from dkist_processing_core.isb.failures.context import log_url

    return log_url(context)


def chat_ops_notification(
    context: Mapping[str, Any],
    workflow_name: str,
    workflow_version: str,
    task_name: str,
    producer_factory: Callable[[], AbstractContextManager[Producer]] = recipe_run_failure_message_producer_factory,
) -> RecipeRunFailureMessage | None:
    """
    Publish a message that a task has failed, for the chat channel. Use it as ``on_failure_callback`` of a task.

    A message that the broker does not confirm in time is written to the spool folder. If that fails too, the whole
    message is written to the log. The function returns within 10 seconds and never raises.

    Parameters
    ----------
    context
        The context that Airflow passes to a callback.
    workflow_name, workflow_version, task_name
        Name and version of the workflow, and name of the task that failed.
    producer_factory
        Returns a context manager that yields an object with a method ``publish(message)``.

    Returns
    -------
    RecipeRunFailureMessage or None
        The message, whether or not it was published. None if it could not be made.
    """
    try:
        from dkist_processing_core.isb.failures.context import failed_task, write_xcom
        from dkist_processing_core.isb.failures.message import message_of, report

        failure = failed_task(context, workflow_name, workflow_version, task_name)
        message = message_of(failure)
        if report(failure, message, producer_factory):
            write_xcom(context, message.message_id)
    except Exception:
        logger.exception("Could not report the failure of task %s of %s %s", task_name, workflow_name, workflow_version)
        return None
    return message


def dag_run_failure_notification(
    context: Mapping[str, Any],
    workflow_name: str,
    workflow_version: str,
    producer_factory: Callable[[], AbstractContextManager[Producer]] = recipe_run_failure_message_producer_factory,
) -> list[RecipeRunFailureMessage]:
    """
    Publish a message for each failed task that could not report itself. Use it as ``on_failure_callback`` of a DAG.

    If Airflow's own process of a task is killed, Airflow does not call the callback of the task. It calls the one of
    the DAG, in the DAG processor, once the run has failed. The function returns within 10 seconds per message and never
    raises.

    Parameters
    ----------
    context
        The context that Airflow passes to a callback.
    workflow_name, workflow_version
        Name and version of the workflow that failed.
    producer_factory
        Returns a context manager that yields an object with a method ``publish(message)``.

    Returns
    -------
    list of RecipeRunFailureMessage
        The messages that were published or spooled.
    """
    messages = []
    try:
        from dkist_processing_core.isb.failures.context import failed_tasks
        from dkist_processing_core.isb.failures.message import message_of, report

        failures = failed_tasks(context, workflow_name, workflow_version)
        for failure in failures:
            message = message_of(failure)
            if report(failure, message, producer_factory):
                messages.append(message)
        logger.info("%d of %d failed tasks had not reported their failure", len(messages), len(failures))
    except Exception:
        logger.exception("Could not determine which tasks failed in %s %s", workflow_name, workflow_version)
    return messages
