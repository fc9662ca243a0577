"""
Measure what thousands of DAG files cost a real Airflow: its DAG processor, its database and its scheduler.

``airflow dag-processor`` runs as a process of its own, with a PostgreSQL that the benchmark starts. It parses workflows
of 5 nodes, 20 per release, in each of these forms in turn, each with a new database:

* ``files``: the output of ``export``, one file per workflow,
* ``one-file``: the output of ``export --one-file``, one file per release,
* ``zip``: the output of ``export --zip``, one archive per release,
* ``hand``: hand-written, one file per DAG: plain ``BashOperator`` with a command and a variable, and
  the edges; neither tags nor docs nor params nor callbacks,
* ``hand-many``: the same, 20 DAGs per file,
* ``published``: the output of the published library (7.5.0), one file per workflow with its script in each node.

In the first pass, all files are new. In the following ones they are unchanged, which is the usual case in a deployment.
A pass begins when the parsing of all files is requested, as Airflow's API can do, and ends when each DAG has been
written since then. For each pass, the benchmark prints its time, its processor time (of the DAG processor with all its
children, and of the database), and the amount of data that was written to the database. Processor time hardly depends
on the load of the machine. Memory is the peak of the proportional set size of all processes of the DAG processor.
Between passes, the DAG processor searches for changed files once per second.

Then ``airflow scheduler`` gets one run of each of up to 50 of the DAGs, with an executor that starts nothing. Its time
is that of its loops until the first task of each run is queued. The time of an idle loop is the median of the following
loops. Finally, the file of a DAG is parsed as at the start of a task.

Airflow has its default settings, except that files are only parsed on request. Environment variables apply to all
forms, for example ``AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES=4 python benchmarks/dag_scale.py``.
"""

import argparse
import compileall
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psycopg2

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from dag_support import forms as dag_forms  # noqa: E402 - found by the line above
from dag_support import scheduler  # noqa: E402
from dag_support.dag_processor import DagProcessor  # noqa: E402
from dag_support.database import ask  # noqa: E402
from dag_support.report import described, report  # noqa: E402
from support.postgresql import PostgreSQL, UnavailableError  # noqa: E402

NODES = 5


class Bench:
    """The forms, in one database server, with a migrated database of which the others are copies."""

    def __init__(self, server: PostgreSQL, folder: Path, size: int) -> None:
        self.server, self.folder, self.size = server, folder, size
        self.published: Path | None = None
        self.found: dict[tuple[str, int], list[dict[str, Any]]] = {}
        tools = folder / "tools"
        dag_forms.uv("pip", "install", "--quiet", "--target", tools, "statsd")
        (tools / "idle_executor.py").write_text(scheduler.EXECUTOR)
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "86400",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",  # hand-written ones do not state it
            "AIRFLOW__CORE__FERNET_KEY": "",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "PYTHONPATH": str(tools),
        }
        with (folder / "migrate.log").open("w") as log:
            subprocess.run(
                [sys.executable, "-m", "airflow", "db", "migrate"],
                env=self.of_form(folder / "migrated", "airflow"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=True,
            )

    def of_form(self, folder: Path, database: str) -> dict[str, str]:
        """Return the environment variables of an Airflow with its files in a folder and its data in a database."""
        (folder / "dags").mkdir(parents=True, exist_ok=True)
        return self.environment | {
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.server.url(database=database),
        }

    def measure(self, form: str, workflows: int, *, passes: int, with_scheduler: bool) -> None:
        """Measure one form once."""
        name = f"{form}-{workflows}-{secrets.token_hex(4)}"
        folder = self.folder / name
        releases = workflows // self.size
        dag_forms.write(
            form, folder / "exported", releases=releases, size=self.size, nodes=NODES, published=self.published
        )
        self.server.query(f'CREATE DATABASE "{name}" TEMPLATE airflow', database="postgres")
        environment = self.of_form(folder, name)
        with contextlib.closing(psycopg2.connect(self.server.url("postgresql", name))) as connection:
            connection.autocommit = True
            database = connection.cursor()
            empty = ask(database, "SELECT pg_database_size(current_database())")
            processor = DagProcessor(self.server, database, environment, folder)
            found = processor.measure(folder / "exported", workflows, passes)
            found["database"] = ask(database, "SELECT pg_database_size(current_database())") - empty
            for table in ("serialized_dag", "dag_code"):
                found[table] = ask(database, "SELECT pg_total_relation_size(%s)", table)
            found["code"] = ask(database, "SELECT sum(length(source_code)) FROM dag_code")
            if with_scheduler:
                found |= scheduler.measure(database, environment, folder)
        self.server.query(f'DROP DATABASE "{name}"', database="postgres")
        shutil.rmtree(folder)
        self.found.setdefault((form, workflows), []).append(found)
        print(f"  {form}, {workflows}: {described(found)}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workflows", default="200", help="numbers of workflows, separated by commas")
    parser.add_argument("--release", type=int, default=20, help="workflows to a release")
    parser.add_argument("--variants", default=",".join(dag_forms.FORMS), help=f"which of {','.join(dag_forms.FORMS)}")
    parser.add_argument("--rounds", type=int, default=1, help="how often each form is measured in a fresh database")
    parser.add_argument("--passes", type=int, default=2, help="how many unchanged passes follow the first")
    parser.add_argument("--only-parsing", action="store_true", help="leave the scheduler out")
    options = parser.parse_args()
    sizes = [int(each) for each in options.workflows.split(",")]
    forms = options.variants.split(",")
    if any(size % options.release for size in sizes) or set(forms) - set(dag_forms.FORMS):
        parser.error(
            f"--workflows takes multiples of {options.release}, --variants some of {','.join(dag_forms.FORMS)}"
        )
    # So that the servers are also ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # An installer compiles the modules that it installs; those of a checkout may not be compiled yet.
    compileall.compile_dir(str(ROOT / "dkist_processing_core"), quiet=1)
    try:
        new_server = PostgreSQL.new()
    except UnavailableError as reason:
        sys.exit(str(reason))
    with tempfile.TemporaryDirectory() as temporary, new_server.running() as server:
        bench = Bench(server, Path(temporary), options.release)
        if "published" in forms:
            bench.published = dag_forms.published_python(Path(temporary) / "published")
        for size in sizes:
            for _ in range(options.rounds):
                for form in forms:
                    bench.measure(form, size, passes=options.passes, with_scheduler=not options.only_parsing)
    report(bench.found, sizes, forms)


if __name__ == "__main__":
    main()
