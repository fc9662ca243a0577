"""
Which failed tasks Airflow knows and nobody has reported, found over Airflow's REST API.

Runs in: the machine of the DAG processor, by hand or by a timer. A failure is reported by the task, or by a callback of
Airflow in the DAG processor. Airflow loses that callback if its scheduler is killed after it has failed the run and
before it has stored the callback (3.3: ``SchedulerJobRunner._do_scheduling``), or if its DAG processor is killed after
it has taken the callback out of the database and before it has run it (``DagFileProcessorManager.
_fetch_callbacks_from_db``). Nothing but Airflow's database knows of these failures then.
"""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from dkist_processing_core.exceptions import DKISTProcessingCoreError
from dkist_processing_core.isb.failures.context import XCOM_KEY
from dkist_processing_core.isb.failures.failure import Failure
from dkist_processing_core.isb.failures.reported import is_reported

__all__ = ["AirflowApi", "AirflowApiError", "unreported"]

CALL_SECONDS = 30.0
PAGE = 100
NOT_FOUND = 404
# What `scheduling.workflow_dag` sets: the workflow, its distribution and its version.
DESCRIPTION = re.compile(r"(\S+) of (\S+) (\S+)")
ENDED = {"success", "failed"}
UNREPORTED = (
    "The task failed, and neither the task nor Airflow has reported it: Airflow's process of the task was killed, and "
    "Airflow has lost the callback, as it does when its scheduler or its DAG processor is killed at that moment."
)


class AirflowApiError(DKISTProcessingCoreError):
    """Airflow's REST API does not answer, or refuses."""


class AirflowApi:
    """
    A client of Airflow's REST API, version 2 of it, which Airflow 3 has.

    Parameters
    ----------
    address
        Where Airflow's pages are, such as ``https://airflow.example.org``.
    user, password
        Of somebody who may read runs, task instances and XComs.
    """

    def __init__(self, address: str, user: str, password: str) -> None:
        self.address = address.rstrip("/")
        self._token = ""
        self._token = self.call("/auth/token", {"username": user, "password": password})["access_token"]

    def call(self, path: str, body: dict[str, str] | None = None) -> Any:
        """Return the answer to a GET, or to a POST of a body; None if there is no such thing."""
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data=data, headers=headers)  # noqa: S310 - see the CLI
        try:
            with urllib.request.urlopen(request, timeout=CALL_SECONDS) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == NOT_FOUND:
                    return None
                raise AirflowApiError(f"{self.address}{path} answers {error.code} {error.reason}") from None
        except (OSError, ValueError) as error:
            raise AirflowApiError(f"{self.address} does not answer as Airflow does: {error}") from None

    def failed_instances(self, since: datetime) -> Iterator[dict[str, Any]]:
        """Yield the failed task instances that have ended since a moment, of all DAGs."""
        offset = 0
        while True:
            query = {
                "state": "failed",
                "end_date_gte": since.isoformat(),
                "limit": PAGE,
                "offset": offset,
                "order_by": "id",
            }
            answer = self.call(f"/api/v2/dags/~/dagRuns/~/taskInstances?{urlencode(query)}") or {}
            found = answer.get("task_instances", [])
            yield from found
            offset += len(found)
            if not found or offset >= answer.get("total_entries", 0):
                return


def unreported(api: AirflowApi, *, since: datetime, until: datetime) -> Iterator[Failure]:
    """
    Yield the failures of tasks of this library that nobody has reported.

    Parameters
    ----------
    api
        A client of Airflow's API.
    since
        Tasks that have ended before are not looked at.
    until
        Neither are runs that have ended after; the callbacks of these may still be under way.
    """
    descriptions: dict[str, Any] = {}
    runs: dict[tuple[str, str], dict[str, Any]] = {}
    for instance in api.failed_instances(since):
        dag_id, run_id = instance["dag_id"], instance["dag_run_id"]
        if dag_id not in descriptions:
            descriptions[dag_id] = _workflow(dag_id, api.call(f"/api/v2/dags/{quote(dag_id)}") or {})
        if (workflow := descriptions[dag_id]) is None:
            continue  # not one of ours
        place = f"/api/v2/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}"
        if (dag_id, run_id) not in runs:
            runs[dag_id, run_id] = api.call(place) or {}
        run = runs[dag_id, run_id]
        ended = _moment(run.get("end_date"))
        if run.get("state") not in ENDED or ended is None or ended > until:
            continue
        failure = _failure(api, workflow, run, instance, place)
        # Whoever has reported it may not have known the try. Airflow deletes XComs when a task runs again.
        if not (is_reported(failure) or is_reported(replace(failure, try_number=None))):
            yield failure


def _workflow(dag_id: str, dag: dict[str, Any]) -> tuple[str, str] | None:
    """Return name and version of the workflow, None if the DAG is not one of this library."""
    found = DESCRIPTION.fullmatch(dag.get("description") or "")
    return (found[1], found[3]) if found and f"{found[1]}_{found[3]}" == dag_id else None


def _failure(
    api: AirflowApi, workflow: tuple[str, str], run: dict[str, Any], instance: dict[str, Any], place: str
) -> Failure:
    task, index = instance["task_id"], instance["map_index"]
    entry = api.call(f"{place}/taskInstances/{quote(task)}/xcomEntries/{XCOM_KEY}?map_index={index}")
    started = _moment(run.get("start_date"))
    recipe_run_id = (run.get("conf") or {}).get("recipe_run_id")
    log = f"{api.address}/dags/{quote(instance['dag_id'])}/runs/{quote(instance['dag_run_id'])}/tasks/{quote(task)}"
    return Failure(
        workflow_name=workflow[0],
        workflow_version=workflow[1],
        task_name=task,
        dag_id=instance["dag_id"],
        run_id=instance["dag_run_id"],
        run_started=started.isoformat() if started else None,
        map_index=index if index >= 0 else None,
        try_number=instance["try_number"],
        recipe_run_id=recipe_run_id if isinstance(recipe_run_id, int | str) else None,
        log_url=f"{log}?try_number={instance['try_number']}",
        host=instance.get("hostname") or None,
        error=UNREPORTED,
        is_lost=True,
        reported_id=str(entry["value"]).strip('"') if entry else None,
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
