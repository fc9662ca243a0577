"""
The failures in a run that no task could report itself.

Runs in: DAG processor, once a run has ended as failed. What Airflow tells there differs by its version:

* 2.x calls back for the task itself, in the DAG processor, when its process was killed. There is nothing to do.
* From 3.1 on it tells the states of all tasks of the run.
* 3.0 tells neither the states nor which task has failed.
"""

import logging
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from dkist_processing_core.failure_callback import attribute, parse_dag_run_id_from_context, parse_log_url_from_context
from dkist_processing_core.isb.failures import context as of_context
from dkist_processing_core.isb.failures.message import message_from_context, message_id_of
from dkist_processing_core.isb.failures.reported import is_any_reported, is_reported
from dkist_processing_core.isb.messages import RecipeRunFailureMessage

__all__ = ["UNKNOWN_TASK", "unreported_failures"]

logger = logging.getLogger(__name__)

UNKNOWN_TASK = "unknown"
CALLS_BACK_FOR_DAGS_ONLY = (3, 0)
NAMES_THE_FAILED_TASK = (3, 2)
WHAT_HAPPENED = (
    "Airflow's process of this task ended before it could report the failure. It was killed (SIGKILL; the kernel does "
    "so when memory runs out), or somebody has marked the task as failed."
)
WHAT_HAPPENED_TO_THE_RUN = (
    "The run failed, and no task has reported a failure. Airflow 3.0 does not tell which task it was; its process was "
    "killed (SIGKILL; the kernel does so when memory runs out), or somebody has marked it as failed."
)


def unreported_failures(
    context: Mapping[str, Any], workflow_name: str, workflow_version: str
) -> Iterator[RecipeRunFailureMessage]:
    """
    Yield a message for each failure in a run of which none was sent.

    Parameters
    ----------
    context
        What Airflow passes to the ``on_failure_callback`` of a DAG.
    workflow_name, workflow_version
        What has failed.
    """
    if of_context.airflow_version() < CALLS_BACK_FOR_DAGS_ONLY:
        return
    names = _failed_tasks(context)
    if names is None:
        if not is_any_reported(context):
            run = {**_about_the_run(context), "exception": WHAT_HAPPENED_TO_THE_RUN}
            yield message_from_context(run, workflow_name, workflow_version, UNKNOWN_TASK, is_of_this_host=False)
        return
    unreported = 0
    for name in names:
        is_try_known = attribute(of_context.task_instance(context), "task_id") == name
        task = {**(context if is_try_known else _about_another_task(context, name)), "exception": WHAT_HAPPENED}
        message_id = message_id_of(task, workflow_name, workflow_version, name)
        if not is_reported(context, name, message_id, is_try_known=is_try_known):
            unreported += 1
            yield message_from_context(
                task, workflow_name, workflow_version, name, message_id=message_id, is_of_this_host=False
            )
    logger.info("%d of the failed tasks were not reported yet, of %s", unreported, ", ".join(names))


def _failed_tasks(context: Mapping[str, Any]) -> list[str] | None:
    """Return the names of the failed tasks of the run, None if Airflow does not tell."""
    instance = of_context.task_instance(context)
    run_id = parse_dag_run_id_from_context(context)
    try:
        states = instance.get_task_states(dag_id=of_context.dag_id(context), run_ids=[run_id])
        return sorted(name for name, state in states.get(run_id, {}).items() if str(state) == "failed")
    except Exception as error:
        logger.debug("Airflow does not tell the states of the tasks: %s: %s", type(error).__name__, error)
    if of_context.airflow_version() >= NAMES_THE_FAILED_TASK and instance is not None:
        return [str(instance.task_id)]
    return None


def _about_the_run(context: Mapping[str, Any]) -> dict[str, Any]:
    return {name: context[name] for name in ("run_id", "dag_run", "dag") if name in context}


def _about_another_task(context: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a context for a task that is not the one that Airflow's is about; its try is not known then."""
    instance = of_context.task_instance(context)
    known, _, _ = (parse_log_url_from_context(context) or "").partition("?")
    own_end = f"/tasks/{attribute(instance, 'task_id')}"
    log_url = f"{known.removesuffix(own_end)}/tasks/{name}" if known.endswith(own_end) else None
    other = SimpleNamespace(task_id=name, dag_id=of_context.dag_id(context), log_url=log_url)
    return {**_about_the_run(context), "task_instance": other}
