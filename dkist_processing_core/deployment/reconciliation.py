"""
Find failed tasks that Airflow knows and that were never reported, through Airflow's REST API.

Runs in: the machine of the DAG processor, by hand or by a timer. Usually the task reports its failure, or else a
callback that Airflow calls in the DAG processor. Airflow loses this callback if its scheduler is killed after it has
failed the run and before it has stored the callback (3.3: ``SchedulerJobRunner._do_scheduling``), or if its DAG
processor is killed after it has taken the callback out of the database and before it has run it
(``DagFileProcessorManager._fetch_callbacks_from_db``). Then only Airflow's database knows of the failure.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import quote

from dkist_processing_core.deployment.airflow_api import AirflowApi
from dkist_processing_core.exceptions import AirflowApiError
from dkist_processing_core.isb.failures.context import HAS_XCOM, XCOM_KEY
from dkist_processing_core.isb.failures.failure import Failure
from dkist_processing_core.isb.failures.reported import is_reported

__all__ = ["unreported"]

# What `scheduling.workflow_dag` sets: the workflow, its distribution and its version.
DESCRIPTION = re.compile(r"(\S+) of (\S+) (\S+)")
ENDED = {"success", "failed"}
UNREPORTED = (
    "The task failed, and neither the task nor Airflow has reported it: Airflow's process of the task was killed, and "
    "Airflow has lost the callback, as it does when its scheduler or its DAG processor is killed at that moment."
)


def unreported(api: AirflowApi, *, since: datetime, until: datetime) -> Iterator[Failure]:
    """
    Yield the failures of tasks of this library that were never reported.

    Parameters
    ----------
    api
        A client of Airflow's API.
    since
        Tasks that ended earlier are ignored.
    until
        Runs that ended later are ignored, since their callbacks may still be running.

    Raises
    ------
    AirflowApiError
        If Airflow does not answer, or its version does not record which failures were reported.
    """
    if api.version < HAS_XCOM:
        raise AirflowApiError(
            f"Airflow {'.'.join(map(str, api.version))} does not show which failures were reported, since its tasks do "
            "not record that in an XCom",
            remedy="Use Airflow 3.1 or later",
        )
    workflow_of = cache(lambda dag_id: _workflow(dag_id, api.dag(dag_id) or {}))
    run_of = cache(api.run)

    def failure_of(instance: dict[str, Any]) -> Failure | None:
        workflow = workflow_of(instance["dag_id"])
        if workflow is None:  # not a DAG of this library
            return None
        run = run_of(instance["dag_id"], instance["dag_run_id"])
        ended = _moment(run.get("end_date"))
        if run.get("state") not in ENDED or ended is None or ended > until:
            return None
        return _failure(api, workflow, run, instance)

    for instance in api.failed_tasks(since):
        try:
            failure = failure_of(instance)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, AirflowApiError):
                raise
            raise AirflowApiError(
                f"Airflow describes a failed task in an unknown form: {type(error).__name__}: {error}",
                remedy="Install a release of this library that supports this version of Airflow",
            ) from error
        # It may have been reported without the number of the try. Airflow deletes XComs when a task runs again.
        if failure and not (is_reported(failure) or is_reported(replace(failure, try_number=None))):
            yield failure


def _workflow(dag_id: str, dag: dict[str, Any]) -> tuple[str, str] | None:
    """Return name and version of the workflow; None if the DAG was not exported by this library."""
    found = DESCRIPTION.fullmatch(str(dag.get("description")))
    return (found[1], found[3]) if found and f"{found[1]}_{found[3]}" == dag_id else None


def _failure(api: AirflowApi, workflow: tuple[str, str], run: dict[str, Any], instance: dict[str, Any]) -> Failure:
    dag_id, run_id, task_id = (instance[key] for key in ("dag_id", "dag_run_id", "task_id"))
    index, number = int(instance["map_index"]), int(instance["try_number"])
    reported_id = api.xcom(dag_id, run_id, task_id, XCOM_KEY, index)
    started = _moment(run.get("start_date"))
    recipe_run_id = (run.get("conf") or {}).get("recipe_run_id")
    log = f"{api.address}/dags/{quote(dag_id)}/runs/{quote(run_id)}/tasks/{quote(task_id)}"
    return Failure(
        workflow_name=workflow[0],
        workflow_version=workflow[1],
        task_name=task_id,
        dag_id=dag_id,
        run_id=run_id,
        run_started=started.isoformat() if started else None,
        map_index=index if index >= 0 else None,
        try_number=number,
        recipe_run_id=recipe_run_id if isinstance(recipe_run_id, int | str) else None,
        log_url=f"{log}?try_number={number}",
        host=str(instance.get("hostname") or "") or None,
        error=UNREPORTED,
        is_lost=True,
        reported_id=None if reported_id is None else str(reported_id).strip('"'),
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
