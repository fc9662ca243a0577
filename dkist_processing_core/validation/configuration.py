"""
The configuration of the installed Airflow, and its pools.

Runs in: a process with Airflow, of any version that is supported; `validation.airflow` starts it.
"""

from typing import Any

__all__ = ["options", "pools"]

CELERY = "celery_broker_transport_options"
# Options that the checks of a machine compare. One that this version of Airflow does not have is None.
OPTIONS = (
    *(("core", name) for name in ("executor", "killed_task_cleanup_time", "dags_folder", "dagbag_import_timeout")),
    *(("core", "execution_api_server_url"), ("core", "dag_file_processor_timeout")),  # the latter before Airflow 3
    *(("scheduler", "task_instance_heartbeat_timeout"), ("scheduler", "scheduler_zombie_task_threshold")),
    *(("workers", "min_heartbeat_interval"), ("workers", "max_failed_heartbeats")),
    *(("dag_processor", "dag_file_processor_timeout"), (CELERY, "visibility_timeout")),
)


def options() -> dict[str, Any]:
    """Return version and options of Airflow without any that may contain a password; of the broker, only its type."""
    from airflow import __version__
    from airflow.configuration import conf

    broker = str(conf.get("celery", "broker_url", fallback="") or "")
    found = {f"[{section}] {name}": conf.get(section, name, fallback=None) for section, name in OPTIONS}
    return {"version": __version__, "broker": broker.partition("://")[0], **found}


def pools() -> dict[str, Any]:
    """Return the names of the pools in Airflow's database, or the error of the database."""
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session
    from sqlalchemy import select
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with create_session() as session:
            return {"pools": sorted(session.scalars(select(Pool.pool)))}
    except SQLAlchemyError as error:
        # The first line is the message of the database; the others are the statement and a URL.
        return {"error": (str(error).splitlines() or [type(error).__name__])[0]}
