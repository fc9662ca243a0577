"""
Which failures are reported already, so that a run that ends as failed tells only what its tasks could not.

Runs in: worker, where a task's failure is reported, and DAG processor, where that of a run is looked at. The two may be
different machines that share nothing but Airflow, hence an XCom of the failed task; Airflow lets the DAG processor read
it from 3.1 on. A file in the spool folder says the same where they share that folder, and wherever an XCom cannot be
written or read.
"""

import hashlib
import logging
import threading
from collections.abc import Mapping
from typing import Any

from dkist_processing_core.failure_callback import parse_dag_run_id_from_context
from dkist_processing_core.isb.failures import context as of_context
from dkist_processing_core.isb.spool import forget_old, spool_folder

__all__ = ["is_any_reported", "is_repetition", "is_reported", "remember"]

logger = logging.getLogger(__name__)

XCOM_KEY = "dkist_failure_message_id"
XCOM_FROM_AIRFLOW = (3, 1)
XCOM_SECONDS = 1.0
FOLDER = "reported"


def remember(context: Mapping[str, Any], message_id: str) -> None:
    """
    Remember that the failure of a task is reported. It takes at most a second, and never raises.

    Parameters
    ----------
    context
        What Airflow has passed to the callback of the task.
    message_id
        Id of the message.
    """
    try:
        folder = spool_folder() / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        forget_old(folder)
        (folder / f"{_run(context)}-{message_id}").touch()
    except OSError as error:
        logger.debug("Not remembered in the spool folder: %s", error)
    if of_context.airflow_version() >= XCOM_FROM_AIRFLOW:
        _push(context, message_id)


def _push(context: Mapping[str, Any], message_id: str) -> None:
    """Push the XCom, in a thread since Airflow tries for minutes if its API server is away."""

    def push() -> None:
        try:
            of_context.task_instance(context).xcom_push(key=XCOM_KEY, value=message_id)
        except Exception as error:
            logger.debug("Not remembered by Airflow: %s: %s", type(error).__name__, error)

    thread = threading.Thread(target=push, name="dkist-isb-reported", daemon=True)
    thread.start()
    thread.join(XCOM_SECONDS)


def is_reported(context: Mapping[str, Any], task_name: str, message_id: str, *, is_try_known: bool) -> bool:
    """
    Tell whether the failure of a task is reported.

    Parameters
    ----------
    context
        What Airflow has passed to the callback of the run.
    task_name
        Airflow's id of the task.
    message_id
        Id of the message.
    is_try_known
        Whether the id is that of the very try. If not, any message about the task counts; Airflow forgets the XComs of
        a task when it runs again.
    """
    if is_try_known and _has_file(message_id):
        return True
    if of_context.airflow_version() < XCOM_FROM_AIRFLOW:
        return False
    try:
        pulled = of_context.task_instance(context).xcom_pull(
            task_ids=task_name, key=XCOM_KEY, map_indexes=-1, run_id=parse_dag_run_id_from_context(context)
        )
    except Exception as error:
        logger.debug("Airflow does not tell what is reported of %s: %s: %s", task_name, type(error).__name__, error)
        return False
    return pulled == message_id if is_try_known else pulled is not None


def is_repetition(context: Mapping[str, Any], message_id: str) -> bool:
    """
    Tell whether Airflow calls back for the same failure again.

    Airflow 3 does so in the DAG processor, for a task that it has lost: first since it misses the heartbeat, then since
    the executor does not know of it. A callback in a task's own process knows the exception; it is never a repetition.
    """
    is_of_airflow = type(of_context.task_instance(context)).__module__.startswith("airflow.")
    return is_of_airflow and "exception" not in context and _has_file(message_id)


def _has_file(message_id: str) -> bool:
    return next((spool_folder() / FOLDER).glob(f"*-{message_id}"), None) is not None


def is_any_reported(context: Mapping[str, Any]) -> bool:
    """Tell whether the failure of any task of the run is reported, as far as the spool folder knows."""
    return next((spool_folder() / FOLDER).glob(f"{_run(context)}-*"), None) is not None


def _run(context: Mapping[str, Any]) -> str:
    """Return a name for a run, and for when it was started: somebody may clear it, and it runs again."""
    facts = of_context.dag_id(context), parse_dag_run_id_from_context(context), of_context.run_started(context)
    return hashlib.sha256(repr([str(each) for each in facts]).encode()).hexdigest()[:16]
