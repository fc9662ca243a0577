"""
The activity of a DAG according to Airflow: whether it is paused, which runs are active, and when the last one was.

Runs in: terminal of the scheduler's machine.
"""

from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from dkist_processing_core.deployment.airflow_api import AirflowApi

__all__ = ["Activity", "activities", "look", "reasons"]

ACTIVE = ("queued", "running")
REQUESTS_AT_ONCE = 4
NEWEST = 2000  # runs that are read before Airflow is asked for the last run of each remaining DAG
# After a run has failed, the DAG processor calls the callback in the DAG file, which reports the tasks that were
# killed.
CALLBACK_TIME = timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True)
class Activity:
    """The activity of one DAG according to Airflow; without runs if Airflow does not know the DAG."""

    dag_id: str
    is_known: bool = False
    is_paused: bool = False
    active: tuple[dict[str, Any], ...] = ()
    last_ended: dict[str, Any] | None = None

    @property
    def last(self) -> datetime | None:
        """The last start of an active run, or the end of the last run that has ended, whichever is later."""
        moments = [_moment(each.get("start_date")) for each in self.active]
        return max(filter(None, (*moments, _moment((self.last_ended or {}).get("end_date")))), default=None)


def look(api: AirflowApi, dag_id: str) -> Activity:
    """Return what can prevent the retirement of a DAG; ``last_ended`` is its last failed run."""
    dag = api.dag(dag_id)
    if dag is None:
        return Activity(dag_id=dag_id)
    return Activity(
        dag_id=dag_id,
        is_known=True,
        is_paused=dag["is_paused"],
        active=tuple(api.runs(dag_id, *ACTIVE)),
        last_ended=api.last_ended(dag_id, "failed"),
    )


def reasons(activity: Activity) -> Iterable[str]:
    """Yield the reasons why a DAG cannot be retired now, from the result of `look`."""
    for run in activity.active:
        yield f"run {run.get('dag_run_id', '?')} of {activity.dag_id} is {run.get('state', 'active')}"
    ended = activity.last_ended or {}
    end = _moment(ended.get("end_date"))
    if end and datetime.now(UTC) - end < CALLBACK_TIME:
        yield (
            f"run {ended.get('dag_run_id', '?')} of {activity.dag_id} failed less than "
            f"{CALLBACK_TIME.seconds // 60} minutes ago, and its failure may not have been reported yet"
        )


def activities(api: AirflowApi, dag_ids: Collection[str]) -> dict[str, Activity]:
    """Return the activity of many DAGs."""
    known = {str(each.get("dag_id")): each for each in api.dags()}
    active: dict[str, list[dict[str, Any]]] = {}
    for run in api.runs("~", *ACTIVE):
        active.setdefault(str(run.get("dag_id")), []).append(run)

    last: dict[str, dict[str, Any]] = {}
    newest = list(islice(api.ended(), NEWEST))
    for run in newest:
        last.setdefault(str(run.get("dag_id")), run)

    def described(dag_id: str) -> Activity:
        if dag_id not in known:
            return Activity(dag_id=dag_id)
        return Activity(
            dag_id=dag_id,
            is_known=True,
            is_paused=known[dag_id].get("is_paused") is True,
            active=tuple(active.get(dag_id, ())),
            # One request for each of a thousand DAGs takes a minute.
            last_ended=api.last_ended(dag_id) if len(newest) == NEWEST and dag_id not in last else last.get(dag_id),
        )

    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        return {each.dag_id: each for each in pool.map(described, sorted(dag_ids))}


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
