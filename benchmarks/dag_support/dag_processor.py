"""Measure the passes of a DAG processor over files, and the parse of its file by a task."""

import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.postgresql import PostgreSQL
from support.waiting import wait_until

from dag_support.components import CHILDREN, Peak, component, processor_seconds, tail
from dag_support.database import Cursor, ask
from dkist_processing_core.common.programs import family

IDLE_SECONDS = 20.0
BUNDLE = "dags-folder"
PASS_SECONDS = 3600.0
TABLES = ("dag_version", "serialized_dag", "dag_code", "dag_tag")
# A task parses the file of its DAG in a fork of a process that has imported Airflow.
TASK_START = """
import json
import os
import sys
import time
import airflow.sdk.execution_time.task_runner
from airflow.dag_processing.dagbag import BundleDagBag

folder, *files = sys.argv[1:]
for file in files:
    read, write = os.pipe()
    if not os.fork():
        started = time.process_time()
        bag = BundleDagBag(dag_folder=file, safe_mode=False, load_op_links=False, bundle_path=folder, bundle_name="b")
        took = time.process_time() - started
        assert bag.dags and not bag.import_errors
        os.write(write, json.dumps(1000 * took).encode())
        os._exit(0)
    os.wait()
    os.close(write)
    print(os.read(read, 100).decode())
"""


class DagProcessor:
    """A DAG processor with the files of one form and a database of its own."""

    def __init__(self, server: PostgreSQL, database: Cursor, environment: Mapping[str, str], folder: Path) -> None:
        self.server, self.database, self.environment, self.folder = server, database, environment, folder

    def measure(self, exported: Path, workflows: int, passes: int) -> dict[str, Any]:
        """Measure the first pass and the following ones; an import error ends the benchmark."""
        with component(["dag-processor"], self.environment, self.folder) as process:
            log = self.folder / "dag-processor.log"
            is_ready = "SELECT count(*) FROM dag_bundle WHERE last_refreshed IS NOT NULL"
            wait_until(lambda: ask(self.database, is_ready), lambda: tail(log), interval=0.5, error=SystemExit)
            time.sleep(3)
            files = [each.name for each in exported.iterdir() if each.suffix in {".py", ".zip"}]
            for each in files:
                (exported / each).rename(self.folder / "dags" / each)
            with Peak(process.pid) as peak:
                taken = [self.one_pass(process, files, workflows) for _ in range(1 + passes)]
            before = processor_seconds(process.pid)
            time.sleep(IDLE_SECONDS)
            idle = processor_seconds(process.pid) - before
        if ask(self.database, "SELECT count(*) FROM import_error"):
            raise SystemExit(f"an import error: {ask(self.database, 'SELECT max(stacktrace) FROM import_error')}")
        return {
            "files": len(files),
            "passes": taken,
            "megabytes": peak.megabytes,
            "idle_percent": 100 * idle / IDLE_SECONDS,
            "parse_ms": self.task_start(files),
        }

    def so_far(self, process: subprocess.Popen[bytes]) -> dict[str, float]:
        """Return processor time and written data since the start of the processes and of the database."""
        assert self.server.process
        rows = "SELECT coalesce(sum(n_tup_ins), 0) FROM pg_stat_user_tables WHERE relname = %s"
        return {
            "cpu": processor_seconds(process.pid),
            "children_cpu": processor_seconds(process.pid, fields_of=CHILDREN),
            "database_cpu": processor_seconds(*family(self.server.process.pid)),
            "wal": float(ask(self.database, "SELECT pg_current_wal_insert_lsn() - '0/0'")),
            **{table: float(ask(self.database, rows, table)) for table in TABLES},
        }

    def one_pass(self, process: subprocess.Popen[bytes], files: list[str], workflows: int) -> dict[str, float]:
        """Let the DAG processor parse all files once, and return the measurement."""
        time.sleep(2)  # the statistics of the database lag by a second
        before, started = self.so_far(process), time.monotonic()
        since = ask(self.database, "SELECT clock_timestamp()")
        self.database.execute(
            "INSERT INTO dag_priority_parsing_request (id, bundle_name, relative_fileloc)"
            " SELECT md5(file), %s, file FROM unnest(%s) AS file",
            (BUNDLE, files),
        )
        parsed = "SELECT count(*) FROM dag WHERE last_parsed_time > %s"
        wait_until(
            lambda: process.poll() is not None or ask(self.database, parsed, since) >= workflows,
            "a pass did not end",
            seconds=PASS_SECONDS,
            interval=0.5,
            error=SystemExit,
        )
        if process.poll() is not None:
            raise SystemExit("the DAG processor has ended")
        last = ask(self.database, "SELECT extract(epoch FROM max(last_parsed_time) - %s) FROM dag", since)
        took = min(float(last), time.monotonic() - started)
        time.sleep(2)
        return {"seconds": took} | {name: after - before[name] for name, after in self.so_far(process).items()}

    def task_start(self, files: list[str]) -> float:
        """Return the processor time, in milliseconds, of the parse of its compiled file by a task."""
        dags = self.folder / "dags"
        done = subprocess.run(
            [sys.executable, "-c", TASK_START, str(dags), *(str(dags / each) for each in sorted(files)[:20])],
            env=dict(self.environment) | {"AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"},
            capture_output=True,
            text=True,
            check=True,
        )
        return statistics.median(map(float, done.stdout.split()))
