"""
The checks in the order of the report: which machines need each, and on which other checks it depends.

Runs in: worker, the machine of the DAG processor, CI.
"""

from dkist_processing_core.doctor import airflow, bus, cache, installer
from dkist_processing_core.doctor.clock import check_clock
from dkist_processing_core.doctor.examination import Check
from dkist_processing_core.doctor.machine import Place
from dkist_processing_core.doctor.spool import check_spool
from dkist_processing_core.doctor.telemetry import check_telemetry
from dkist_processing_core.doctor.timeouts import check_time_outs

__all__ = ["CHECKS"]

WORKER, DAG_PROCESSOR = frozenset({Place.WORKER}), frozenset({Place.DAG_PROCESSOR})
OPERATION = WORKER | DAG_PROCESSOR
BUILDING = WORKER | {Place.CI}
EVERYWHERE = OPERATION | {Place.CI}
DISK_SECONDS = 30.0  # it may have to read the sizes of thousands of files

CHECKS = (
    Check("settings", EVERYWHERE, bus.check_settings),
    Check("Python", EVERYWHERE, installer.check_python),
    Check("uv", BUILDING, installer.check_uv, after=("Python",)),
    Check("index", BUILDING, installer.check_index, seconds=installer.INDEX_SECONDS, after=("uv",)),
    Check("cache", WORKER, cache.check_cache_folder),
    Check("locks", WORKER, cache.check_locks, after=("cache",)),
    Check("disk", WORKER, cache.check_disk, seconds=DISK_SECONDS, after=("settings", "locks")),
    Check("Airflow", EVERYWHERE, airflow.check_airflow, seconds=airflow.SECONDS),
    Check("database", DAG_PROCESSOR, airflow.check_database, seconds=airflow.SECONDS, after=("Airflow",)),
    Check("pools", DAG_PROCESSOR, airflow.check_pools, after=("database",)),
    Check("API server", WORKER, airflow.check_api_server, after=("Airflow",)),
    Check("TLS", OPERATION, bus.check_tls, after=("settings",)),
    Check("bus", OPERATION, bus.check_bus, after=("TLS",)),
    Check("spool", OPERATION, check_spool),
    Check("telemetry", WORKER, check_telemetry, after=("settings",)),
    Check("clock", EVERYWHERE, check_clock, after=("Airflow",)),
    Check("time-outs", OPERATION, check_time_outs, after=("settings", "Airflow")),
)
