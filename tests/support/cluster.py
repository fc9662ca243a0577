"""A cluster of Airflow on this machine: PostgreSQL, RabbitMQ, its components, and Celery workers of several queues."""

import contextlib
import ctypes
import os
import signal
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from dkist_processing_core.common.programs import family, send_signal
from dkist_processing_core.validation.airflow import AirflowUnusableError
from support import postgresql, rabbitmq
from support.components import ComponentError, Components
from support.postgresql import PostgreSQL
from support.rabbitmq import RabbitMQ
from support.real_airflow import Airflow
from support.waiting import wait_until

# The queues of each Celery worker. One for the example's ordinary tasks, so that both have some of its tasks.
WORKERS = {"worker-a": ("default",), "worker-b": ("high_memory", "multi_core", "gpu")}
CONCURRENCY = 2
# What waits for a slot may wait for ever; what waits in a queue of Celery is refused after TASK_QUEUED_TIMEOUT.
POOLS = dict.fromkeys(("default_pool", "high_memory_pool", "multi_core_pool", "gpu_pool"), CONCURRENCY)
BROKER_HOST = "airflow"  # the virtual host of Celery; the interservice bus has the default one
# Airflow asks this function for the name of the machine, which is the same for all workers here.
HOSTNAME = """
import os

def of_worker():
    return os.environ.get("CLUSTER_HOST", "scheduler")
"""
REMAINDER_SECONDS = 5.0
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
SETTINGS = {
    "AIRFLOW__CELERY__SYNC_PARALLELISM": "1",
    # Otherwise Airflow fails a task at once if the broker has not taken its message within 0.6 s. Each attempt takes up
    # to 2 s, and the scheduler makes up to 60 of them.
    "AIRFLOW__CELERY__OPERATION_TIMEOUT": "2",
    "AIRFLOW__CELERY__TASK_PUBLISH_MAX_RETRIES": "60",
    "AIRFLOW__CELERY__EXTRA_CELERY_CONFIG": '{"task_publish_retry_policy": {"max_retries": 100, "interval_max": 1}}',
    "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
    "AIRFLOW__CORE__HOSTNAME_CALLABLE": "cluster_host.of_worker",
    "AIRFLOW__CORE__PARALLELISM": "16",
    "AIRFLOW__DAG_PROCESSOR__STALE_BUNDLE_CLEANUP_INTERVAL": "0",  # a process of each worker, for bundles from Git
    # Short, so that what was lost is noticed soon; Airflow's own values are 5, 300 and 10 s, and 600 and 120 s.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "60",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "10",
}


def require_servers() -> None:
    """Skip the test where the servers of a cluster are not installed."""
    import pytest

    try:
        postgresql.programs()
        rabbitmq.server_program()
    except (postgresql.UnavailableError, rabbitmq.UnavailableError) as reason:
        pytest.skip(str(reason))


class Cluster(Components):
    """
    A cluster, from entering this context manager until it is left; then nothing that it has started runs any more.

    Each worker has a cache of environments and a spool folder of its own, as on a machine of its own, and so has the
    DAG processor a spool folder. All share the folder of Airflow's logs. While it runs, this process adopts what the
    parts of the cluster leave behind, so that it can be found at the end.

    Its parameters are those of `Components`, but ``home``, which is Airflow's home folder: what the cluster writes is
    there, but for the data of PostgreSQL.

    Raises
    ------
    support.postgresql.UnavailableError, support.rabbitmq.UnavailableError
        If a server is missing.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        home: Path,
        port: int,
        *,
        password: str,
        pythons: Mapping[str, Path] | None = None,
    ) -> None:
        self.home = home
        self.rabbitmq = RabbitMQ.new(_folder(home / "rabbitmq"))
        # The last one that may be missing, since it makes a folder. Its data need not survive a power cut.
        self.postgresql = PostgreSQL.new(fsync="off")
        database = self.postgresql.url()
        self._variables = {
            **SETTINGS,
            **environment,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CELERY__BROKER_URL": f"amqp://guest:guest@127.0.0.1:{self.rabbitmq.port}/{BROKER_HOST}",
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{database}",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
        }
        self._before: set[int] = set()
        super().__init__(
            self._variables,
            _folder(home / "components"),
            port,
            password=password,
            of_component=self._variables_of_components(),
            commands={
                "api-server": ["api-server"],
                "dag-processor": ["dag-processor"],
                "scheduler": ["scheduler", "--skip-serve-logs"],
                **{name: _worker_command(name, queues) for name, queues in WORKERS.items()},
            },
            pythons=pythons,
        )

    def __enter__(self) -> Self:
        self._before = family(os.getpid())
        _adopt_orphans(is_wanted=True)
        try:
            with ThreadPoolExecutor() as threads:
                for started in [threads.submit(self._start_broker), threads.submit(self._start_database)]:
                    started.result()
            return super().__enter__()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        try:
            super().__exit__()
        finally:
            self.rabbitmq.close()
            self.postgresql.close()
            self._end_remainder()

    def _start_broker(self) -> None:
        self.rabbitmq.start()
        self.rabbitmq.control("add_vhost", BROKER_HOST)
        self.rabbitmq.control("set_permissions", "--vhost", BROKER_HOST, "guest", ".*", ".*", ".*")

    def _start_database(self) -> None:
        self.postgresql.start()
        self.postgresql.create_database()
        modules = _folder(self.home / "config")  # on the path of all that Airflow runs
        (modules / "cluster_host.py").write_text(HOSTNAME, encoding="utf-8")
        airflow = Airflow(self.home, self.home / "dags", self._variables, str(self.python("scheduler")))
        try:
            airflow.run([airflow.python, "-m", "airflow", "db", "migrate"])
            airflow.make_pools(POOLS)
        except AirflowUnusableError as error:
            raise ComponentError(f"Airflow's database and pools could not be made: {error}") from None

    def _variables_of_components(self) -> dict[str, dict[str, str]]:
        bus = {"MESH_CONFIG": self.rabbitmq.mesh_config}
        return {
            "dag-processor": {**bus, "DKIST_ISB_SPOOL": str(self.spool("dag-processor"))},
            **{
                name: {
                    **bus,
                    "CLUSTER_HOST": name,
                    "DKIST_ENVIRONMENT_CACHE": str(self.cache(name)),
                    "DKIST_ISB_SPOOL": str(self.spool(name)),
                }
                for name in WORKERS
            },
        }

    def cache(self, worker: str) -> Path:
        """Return the cache of environments of a worker."""
        return self.home / worker / "environments"

    def spool(self, component: str) -> Path:
        """Return the spool folder of a worker, or of the DAG processor."""
        return self.home / component / "spool"

    def remaining(self) -> dict[int, str]:
        """Return the commands of the processes that the cluster has started and that have not ended, by their ids."""
        return {pid: _command(pid) for pid in family(os.getpid()) - self._before - {os.getpid()}}

    def _end_remainder(self) -> None:
        """Raise an error if something is left, once that has been ended as well."""
        try:
            wait_until(lambda: not self.remaining(), "", seconds=REMAINDER_SECONDS)
        except AssertionError:
            left = self.remaining()
            send_signal(signal.SIGKILL, *left)
            raise ComponentError(f"These processes were left when the cluster had ended: {left}") from None
        finally:
            _adopt_orphans(is_wanted=False)
            _reap(self._before)


def _worker_command(name: str, queues: tuple[str, ...]) -> list[str]:
    return [
        *["celery", "worker", "--celery-hostname", name, "--queues", ",".join(queues)],
        *["--concurrency", str(CONCURRENCY), "--skip-serve-logs", "--without-gossip", "--without-mingle"],
    ]


def _folder(place: Path) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    return place


def _adopt_orphans(*, is_wanted: bool) -> None:
    """Let orphans among the descendants become children of this process, or no longer."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(is_wanted), 0, 0, 0)


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ").strip()
    return "?"


def _reap(others: set[int]) -> None:
    """Take note of the end of the children that this process has adopted, so that no zombie is left."""
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent, *_ = file.read_text(errors="replace").rpartition(")")[2].split()
            pid = int(file.parent.name)
            if state == "Z" and int(parent) == os.getpid() and pid not in others:
                os.waitpid(pid, os.WNOHANG)
