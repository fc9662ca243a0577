"""
What Airflow tells a callback, in the words of our messages.

Runs in: worker, DAG processor. Airflow's versions differ in what a context holds, some of its attributes are computed
and may fail, and none of that may keep a message from going out: what is not known is None.
"""

import logging
import re
import signal
import socket
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from dkist_processing_core.failure_callback import (
    attribute,
    parse_dag_run_id_from_context,
    parse_log_url_from_context,
)
from dkist_processing_core.isb.failures import details as last_words

__all__ = ["airflow_version", "dag_id", "facts", "run_started", "task_instance", "try_number"]

logger = logging.getLogger(__name__)

EXIT_STATUS = re.compile(r"exit (?:code|status) (-?\d+)")
SIGNALLED = 128
TASK_SCRIPT_STATUS = {
    65: "the recipe run id is no integer",
    69: "the environment of the task could not be built",
    78: "a setting of the worker is missing or cannot be used",
}


def airflow_version() -> tuple[int, ...]:
    """Return the version of the Airflow that calls back, such as (3, 1); empty if there is none."""
    version = str(getattr(sys.modules.get("airflow"), "__version__", ""))
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def task_instance(context: Mapping[str, Any]) -> Any:
    """Return Airflow's object for the task, None if there is none."""
    return context.get("task_instance") or context.get("ti")


def dag_id(context: Mapping[str, Any]) -> str | None:
    """Return Airflow's id of the DAG."""
    return _text(attribute(task_instance(context), "dag_id") or attribute(context.get("dag"), "dag_id"))


def try_number(context: Mapping[str, Any]) -> int | None:
    """Return the number of the try, from 1."""
    return _integer(attribute(task_instance(context), "try_number"))


def run_started(context: Mapping[str, Any]) -> str | None:
    """Return when the run was started, or started again since somebody has cleared it (ISO 8601, UTC)."""
    started = attribute(context.get("dag_run"), "start_date")
    return started.astimezone(UTC).isoformat() if isinstance(started, datetime) else _text(started)


def facts(context: Mapping[str, Any], *, is_of_this_host: bool = True) -> dict[str, Any]:
    """
    Return what a message says beyond the names of workflow and task, by the keys of its body.

    Parameters
    ----------
    context
        What Airflow passes to a callback.
    is_of_this_host
        Whether the task ran on this machine; only asked for where Airflow does not tell.
    """
    instance = task_instance(context)
    map_index = _integer(attribute(instance, "map_index"))
    said = last_words.read_and_remove(
        last_words.name_of_try(
            dag_id(context),
            parse_dag_run_id_from_context(context),
            attribute(instance, "task_id"),
            try_number(context),
        )
    )
    exception = context.get("exception")
    status = _exit_status(exception) or _number(said.get("exitCode"))
    return {
        "dagRunId": parse_dag_run_id_from_context(context),
        "logUrl": parse_log_url_from_context(context) or _log_url(context),
        "dagId": dag_id(context),
        "recipeRunId": _recipe_run_id(context),
        "tryNumber": try_number(context),
        "mapIndex": map_index if map_index is not None and map_index >= 0 else None,
        "host": _text(attribute(instance, "hostname")) or (socket.gethostname() if is_of_this_host else None),
        "exitCode": status,
        "signal": _signal(status),
        "error": said.get("error") or _error(exception, status),
        "traceId": said.get("traceId"),
        "transactionId": said.get("transactionId"),
    }


def _log_url(context: Mapping[str, Any]) -> str | None:
    """Return the address of the log of the task as Airflow 3 forms it; 3.0 does not tell a callback."""
    dag, run, task = (
        dag_id(context),
        parse_dag_run_id_from_context(context),
        attribute(task_instance(context), "task_id"),
    )
    if airflow_version()[:1] != (3,) or not (dag and run and task):
        return None
    try:
        from airflow.configuration import conf

        base = conf.get("api", "base_url", fallback=None)
    except Exception as error:
        logger.debug("Airflow does not tell its address: %s: %s", type(error).__name__, error)
        return None
    number = try_number(context)
    end = f"?try_number={number}" if number else ""
    return f"{base.rstrip('/')}/dags/{quote(dag)}/runs/{quote(run)}/tasks/{quote(task)}{end}" if base else None


def _recipe_run_id(context: Mapping[str, Any]) -> int | str | None:
    conf = attribute(context.get("dag_run"), "conf")
    value = conf.get("recipe_run_id") if isinstance(conf, Mapping) else None
    return value if isinstance(value, int) else _text(value)


def _exit_status(exception: object) -> int | None:
    """Return the exit status that Airflow's operators tell in the text of their exception."""
    found = EXIT_STATUS.search(str(exception))
    return int(found.group(1)) if found else None


def _signal(status: int | None) -> str | None:
    """Name the signal that an exit status stands for: 128 and the signal in a shell, its negative in Python."""
    if status is None:
        return None
    try:
        return signal.Signals(status - SIGNALLED if status > SIGNALLED else -status).name
    except ValueError:
        return None


def _error(exception: object, status: int | None) -> str | None:
    if exception is None:
        return None
    text = str(exception) if isinstance(exception, str) else f"{type(exception).__name__}: {exception}"
    meaning = TASK_SCRIPT_STATUS.get(status or 0)
    return last_words.last_lines(f"{text}\n{meaning}; the log of the task has more" if meaning else text)


def _text(value: object) -> str | None:
    return None if value is None or value == "" else str(value)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.lstrip("-").isdecimal() else None


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
