"""
Read the context that Airflow passes to a failure callback.

Runs in: worker, DAG processor. This module alone uses the objects of Airflow. Versions of Airflow differ in what a
context contains, and reading an attribute may fail. Neither may prevent a message, so an unknown value is None. If a
task's own process was killed, the DAG processor calls back:

* 2.x for the task itself. There is nothing to do for the run.
* 3.0 for the run, without the states of its tasks; XComs cannot be read.
* 3.1 and later for the run, with the states of its tasks; XComs can be read, but not written.
* 3.x for the task itself as well, if the process that supervises the task was killed too.
"""

import logging
import re
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from typing import Any
from urllib.parse import quote

from dkist_processing_core.common.outcome import Outcome
from dkist_processing_core.isb.failures.failure import UNKNOWN_TASK, Failure, describe, exit_status, last_lines

__all__ = ["airflow_version", "failed_task", "failed_tasks", "log_url", "run_id", "write_try", "write_xcom"]

logger = logging.getLogger(__name__)

Context = Mapping[str, Any]
CALLS_BACK_FOR_RUNS = (3, 0)
HAS_XCOM = (3, 1)
NAMES_A_FAILED_TASK = (3, 2)
HAS_LOCK = (3, 2)  # on the connection of a task to its supervisor, so that an abandoned thread is harmless
XCOM_KEY = "dkist_failure_message_id"
TRY_KEY = "dkist_try_number"
XCOM_SECONDS = 1.0
LOST_TASK = (
    "Airflow's process of this task ended before it could report the failure. It was killed (SIGKILL; the kernel does "
    "so when memory runs out), or somebody has marked the task as failed."
)
LOST_WORKER = (
    "The whole worker or its machine has died, or has lost its connection: Airflow received no heartbeat of this task "
    "for too long. The process of the task was killed with it, or will end by itself."
)
LOST_RUN = (
    "The run failed, and no task has reported a failure. Airflow 3.0 does not say which task it was; its process was "
    "killed (SIGKILL; the kernel does so when memory runs out), or somebody has marked it as failed."
)


def failed_task(context: Context, workflow_name: str, workflow_version: str, task_name: str) -> Failure:
    """Return the failure for which Airflow calls the callback of a task."""
    instance = _instance(context)
    exception = context.get("exception")
    outcome = _outcome(context) or Outcome(state="failed")
    status = exit_status(exception) if outcome.exit_status is None else outcome.exit_status
    # Airflow 3 passes the exception in the task's own process, but not in the DAG processor.
    is_lost = type(instance).__module__.startswith("airflow.") and "exception" not in context
    error = outcome.error or outcome.summary or describe(exception, status)
    # The DAG processor calls the callback of a task, and not of its run, if no process of the worker saw the task end.
    # In this case, Airflow 2 passes a text in place of an exception.
    if is_lost or (error and isinstance(exception, str)):
        error = f"{LOST_WORKER}\n{error}" if error else LOST_WORKER
    return Failure(
        workflow_name=workflow_name,
        workflow_version=workflow_version,
        task_name=task_name,
        exit_status=status,
        error=error and last_lines(error),
        trace_id=outcome.trace_id,
        transaction_id=outcome.transaction_id,
        environment_identity=outcome.environment_identity,
        is_lost=is_lost,
        **_run(context),
        **{"host": None if is_lost else socket.gethostname(), **_try(context)},
    )


def failed_tasks(context: Context, workflow_name: str, workflow_version: str) -> list[Failure]:
    """Return the failures of the run for which Airflow calls the callback of a DAG, including reported ones."""
    if airflow_version() < CALLS_BACK_FOR_RUNS:
        return []
    run = Failure(
        workflow_name=workflow_name,
        workflow_version=workflow_version,
        task_name=UNKNOWN_TASK,
        error=LOST_RUN,
        is_lost=True,
        **_run(context),
    )
    names = _failed_task_ids(context, run)
    return [run] if names is None else [_lost_task(context, run, name) for name in names]


def run_id(context: Context) -> str | None:
    """Return Airflow's id of the run."""
    found = context.get("run_id")
    return _text(_attribute(context.get("dag_run"), "run_id") if found is None else found)


def log_url(context: Context) -> str | None:
    """Return the address of the log of the task."""
    return _text(_attribute(context.get("task_instance"), "log_url"))


def write_xcom(context: Context, message_id: str) -> None:
    """
    Write the id of a message to an XCom of the failed task, for the DAG processor to read. It takes at most a second.

    In the DAG processor it does nothing: Airflow refuses the XCom there, with an error in its log.
    """
    if "exception" in context and airflow_version() >= HAS_XCOM:
        _push(context, XCOM_KEY, message_id)


def write_try(context: Context) -> None:
    """
    Write the number of a try to an XCom of the task when the try begins. The first try needs none.

    Airflow does not pass the try of each failed task to the DAG processor. With this number, the message about a lost
    task has the same id as the one that the task itself may have sent.
    """
    number = _attribute(_instance(context), "try_number")
    if isinstance(number, int) and number > 1 and airflow_version() >= HAS_LOCK:
        _push(context, TRY_KEY, number)


def _push(context: Context, key: str, value: object) -> None:
    def push() -> None:
        _instance(context).xcom_push(key=key, value=value)

    # In a thread, since Airflow retries for minutes if its API server cannot be reached.
    thread = threading.Thread(target=_ask, args=(push, "an XCom"), name="dkist-failure-xcom", daemon=True)
    thread.start()
    thread.join(XCOM_SECONDS)


def _failed_task_ids(context: Context, run: Failure) -> list[str] | None:
    """Return the ids of the failed tasks of a run; None if Airflow does not provide them."""
    instance = _instance(context)
    states = _ask(lambda: instance.get_task_states(dag_id=run.dag_id, run_ids=[run.run_id]), "the states of the tasks")
    if states is not None:
        return sorted(name for name, state in states.get(run.run_id, {}).items() if str(state) == "failed")
    return [str(instance.task_id)] if instance is not None and airflow_version() >= NAMES_A_FAILED_TASK else None


def _lost_task(context: Context, run: Failure, name: str) -> Failure:
    """Return the failure of one task of a run; Airflow provides the try of only one of them."""
    if _attribute(_instance(context), "task_id") == name:
        known = _try(context)
    else:
        beginning, found, _ = (log_url(context) or "").rpartition("/tasks/")
        known = {
            "log_url": f"{beginning}/tasks/{quote(name)}" if found else None,
            **_try_of_xcom(context, run, name),
        }
    reported_id = _text(_read_xcom(context, run, name, XCOM_KEY))
    return replace(run, task_name=name, error=LOST_TASK, reported_id=reported_id, **known)


def _try_of_xcom(context: Context, run: Failure, name: str) -> dict[str, Any]:
    """Return the try of a task, if Airflow does not provide it, from the XCom of `write_try`."""
    number = _read_xcom(context, run, name, TRY_KEY)
    if isinstance(number, int):
        return {"try_number": number}
    # The first try writes no XCom. If tasks were cleared, the try without an XCom need not be the first one.
    is_first = airflow_version() >= HAS_LOCK and _attribute(context.get("dag_run"), "clear_number") == 0
    return {"assumed_try": 1} if is_first else {}


def _read_xcom(context: Context, run: Failure, name: str, key: str) -> Any:
    if airflow_version() < HAS_XCOM:
        return None

    def pull() -> object:
        # Without map_indexes: if there is no XCom, Airflow logs an error when it is asked for one map index.
        return _instance(context).xcom_pull(task_ids=name, key=key, run_id=run.run_id)

    return _ask(pull, f"the XCom of {name}")


def _run(context: Context) -> dict[str, Any]:
    dag_run = context.get("dag_run")
    conf, started = _attribute(dag_run, "conf"), _attribute(dag_run, "start_date")
    recipe_run_id = conf.get("recipe_run_id") if isinstance(conf, Mapping) else None
    return {
        "dag_id": _text(_attribute(_instance(context), "dag_id") or _attribute(context.get("dag"), "dag_id")),
        "run_id": run_id(context),
        "run_started": started.astimezone(UTC).isoformat() if isinstance(started, datetime) else _text(started),
        "recipe_run_id": recipe_run_id if isinstance(recipe_run_id, int) else _text(recipe_run_id),
    }


def _try(context: Context) -> dict[str, Any]:
    instance = _instance(context)
    names = ("map_index", "try_number", "hostname")
    map_index, number, host = (_attribute(instance, name) for name in names)
    return {
        "map_index": map_index if isinstance(map_index, int) and map_index >= 0 else None,
        "try_number": number if isinstance(number, int) else None,
        "log_url": log_url(context) or _log_url_of_airflow_3_0(context, number),
        **({"host": _text(host)} if host else {}),
    }


def _log_url_of_airflow_3_0(context: Context, number: object) -> str | None:
    """Return the URL of the log in the form of later versions, since a task instance of 3.0 has no ``log_url``."""
    instance, run = _instance(context), run_id(context)
    dag, task = _attribute(instance, "dag_id"), _attribute(instance, "task_id")
    if airflow_version() != (3, 0) or not (dag and run and task):
        return None
    conf = _ask(lambda: import_module("airflow.configuration").conf, "its configuration")
    base = _text(_ask(lambda: conf.get("api", "base_url", fallback=None), "its address"))
    end = f"?try_number={number}" if number else ""
    return base and f"{base.rstrip('/')}/dags/{quote(dag)}/runs/{quote(run)}/tasks/{quote(task)}{end}"


def _outcome(context: Context) -> Outcome | None:
    """Return the outcome that an operator of this library stores in the exception that it raises, and in itself."""
    holders = (context.get("exception"), context.get("task"), _attribute(_instance(context), "task"))
    found = (_attribute(each, "outcome") for each in holders)
    return next((each for each in found if isinstance(each, Outcome)), None)


def airflow_version() -> tuple[int, ...]:
    """Return the version of Airflow in this process, such as (3, 1); empty if Airflow is not imported."""
    version = str(getattr(sys.modules.get("airflow"), "__version__", ""))
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def _instance(context: Context) -> Any:
    return context.get("task_instance") or context.get("ti")


def _attribute(thing: object, name: str) -> Any:
    return _ask(lambda: getattr(thing, name, None), name)


def _ask(question: Callable[[], object], subject: str) -> Any:
    """Return Airflow's answer; None if it raises an error."""
    try:
        return question()
    except Exception as error:
        logger.debug("Airflow does not provide %s: %s: %s", subject, type(error).__name__, error)
        return None


def _text(value: object) -> str | None:
    # A text that cannot be encoded, such as a surrogate in the conf of a run, could be neither sent nor spooled.
    return None if value is None or value == "" else str(value).encode(errors="backslashreplace").decode()
