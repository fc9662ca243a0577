"""Measure the scheduler's loops with and without runs to start, with an executor that starts nothing."""

import contextlib
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from dag_support.components import component, processor_seconds, tail
from dag_support.database import Cursor, ask

RUNS = 50
IDLE_LOOPS = 5

EXECUTOR = """
from airflow.executors.base_executor import BaseExecutor

class IdleExecutor(BaseExecutor):
    serve_logs = False
    def _process_workloads(self, workloads):
        for each in workloads:
            del self.queued_tasks[each.key]
            self.running.add(each.key)
    def sync(self): pass
    def end(self): pass
    def terminate(self): pass
"""
TRIGGER = """
import sys
from airflow.api.common.trigger_dag import trigger_dag
from airflow.utils.types import DagRunTriggeredByType
for dag_id in sys.argv[1:]:
    trigger_dag(dag_id, triggered_by=DagRunTriggeredByType.CLI, conf={"recipe_run_id": 1})
"""


class LoopDurations:
    """Receives the duration of each loop of the scheduler, which is one of Airflow's metrics."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self.port = self._socket.getsockname()[1]
        self.milliseconds: list[float] = []

    def receive(self, seconds: float) -> None:
        """Record what arrives in some seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                found = re.findall(r"scheduler\.scheduler_loop_duration:([\d.]+)", self._socket.recv(65536).decode())
                self.milliseconds += map(float, found)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def measure(database: Cursor, environment: Mapping[str, str], folder: Path) -> dict[str, float]:
    """Trigger runs of some DAGs, and return the times of the scheduler's loops with and without them."""
    database.execute("SELECT dag_id FROM dag ORDER BY md5(dag_id) LIMIT %s", (RUNS,))
    dags = [dag_id for (dag_id,) in database.fetchall()]
    with (folder / "trigger.log").open("w") as log:
        subprocess.run([sys.executable, "-c", TRIGGER, *dags], env=environment, stdout=log, stderr=log, check=True)
    loops = LoopDurations()
    of_scheduler = {
        "AIRFLOW__CORE__EXECUTOR": "idle_executor.IdleExecutor",
        "AIRFLOW__CORE__PARALLELISM": "1000",
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__STATSD_PORT": str(loops.port),
    }
    queued = "SELECT count(DISTINCT dag_id) FROM task_instance WHERE state = 'queued'"
    arguments = ["scheduler", "--skip-serve-logs"]
    try:
        with component(arguments, environment | of_scheduler, folder) as process:
            deadline = time.monotonic() + 120
            while ask(database, queued) < len(dags):
                loops.receive(0.2)
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"the scheduler does not queue the tasks:\n{tail(folder / 'scheduler.log')}")
            loops.receive(1)
            cpu, busy = processor_seconds(process.pid), len(loops.milliseconds)
            while len(loops.milliseconds) < busy + IDLE_LOOPS:
                loops.receive(0.5)
    finally:
        loops.close()
    return {
        "runs_ms": sum(loops.milliseconds[:busy]),
        "idle_ms": statistics.median(loops.milliseconds[busy:]),
        "scheduler_cpu": cpu,
    }
