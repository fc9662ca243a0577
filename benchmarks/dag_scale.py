"""
What thousands of DAG files cost a real Airflow: its DAG processor, its database and its scheduler.

``airflow dag-processor`` runs as a process of its own, on a PostgreSQL that this starts, over workflows of 5 nodes, 20
to a release, in each of these forms in turn, each in a fresh database:

* ``files``: what ``export`` writes, one file for each workflow,
* ``one-file``: what ``export --one-file`` writes, one file for each release,
* ``zip``: what ``export --zip`` writes, one archive for each release,
* ``hand``: what a person would write, one file for each DAG: plain ``BashOperator`` with a command and a variable, and
  the edges; neither tags nor docs nor params nor callbacks,
* ``hand-many``: the same, 20 DAGs to a file,
* ``published``: what the published library (7.5.0) writes, one file for each workflow with its script in each node.

The first pass finds all files new. In the passes after it nothing has changed: that is what a deployment does all the
time. A pass begins when all files are requested to be parsed, as Airflow's API can do, and ends when each DAG has been
written since. Each pass gives its time, its processor time (that of the DAG processor with all its children, and that
of the database), and what it wrote to the database. Processor time hardly depends on what else the machine does. Memory
is the peak of the proportional set size of all processes of the DAG processor. Between passes it looks once in a second
for files that have changed.

Then ``airflow scheduler`` gets a run of each of up to 50 of the DAGs, with an executor that starts nothing. Its time is
that of its loops until the first task of each run is queued, and an idle loop is the median of those that follow. At
last, the file of a DAG is parsed as a task does at its start.

Airflow's settings are its defaults, but files are not parsed unless requested. What the environment sets goes for all
forms, so this tries a setting: ``AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES=4 python benchmarks/dag_scale.py``.
"""

import argparse
import compileall
import contextlib
import itertools
import os
import re
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import psycopg2

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from support.matrix.environments import find_python  # noqa: E402
from support.postgresql import PostgreSQL, UnavailableError  # noqa: E402
from support.waiting import wait_until  # noqa: E402

from dkist_processing_core.common.programs import end, family  # noqa: E402

PUBLISHED = "7.5.0"
PUBLISHED_PYTHON = "3.13"
NODES = 5
RUNS = 50  # that the scheduler gets
IDLE_LOOPS = 5
IDLE_SECONDS = 20.0
BUNDLE = "dags-folder"
PASS_SECONDS = 3600.0
TICKS = os.sysconf("SC_CLK_TCK")
OWN, CHILDREN = (11, 12), (13, 14)  # user and system time in /proc/PID/stat, counted from the state

HAND_WRITTEN_HEAD = """\
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
"""
HAND_WRITTEN_DAG = """
with DAG("{dag_id}", schedule=None, catchup=False):
"""
HAND_WRITTEN_NODE = """\
    task_{number} = BashOperator(
        task_id="Task{number}",
        bash_command="echo $NUMBER",
        env={{"NUMBER": "{number}"}},
    )
"""
HAND_WRITTEN_EDGE = "    task_{upstream} >> task_{number}\n"
# For either library: the names of the files that it writes, and of the DAGs in them.
EXPORT = """
import logging
import sys
logging.disable(logging.WARNING)
from dkist_processing_core import TaskBase, Workflow

folder, releases, size, nodes = sys.argv[1], *map(int, sys.argv[2:])
doc = "Do one thing.\\n\\nWith a docstring of some lines,\\nas tasks have."
body = {"run": lambda _: None, "__doc__": doc, "__module__": "bench.tasks"}
tasks = [type(f"Task{number}", (TaskBase,), body) for number in range(nodes)]

def workflow(number, release):
    made = Workflow(input_data="l0", output_data="l1", category="bench", detail=f"n{number}",
                    workflow_package="bench", workflow_version=f"{release}.0")
    for task, before in zip(tasks, [None, *tasks]):
        made.add_node(task, upstreams=before)
    return made
"""
OF_EACH = """
for release in range(releases):
    for number in range(size):
        workflow(number, release).export_dag(folder)
"""
ONE_FILE = """
from pathlib import Path
from dkist_processing_core.export import bundle
for release in range(releases):
    bundle.write([workflow(number, release).spec for number in range(size)], Path(folder), one_file=True)
"""
ARCHIVE = """
from pathlib import Path
from dkist_processing_core.export import bundle
for release in range(releases):
    bundle.write_archive([workflow(number, release).spec for number in range(size)], Path(folder))
"""
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
# A task parses the file of its DAG in a fork of a process that holds Airflow.
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
FORMS = ["hand", "files", "one-file", "zip", "hand-many", "published"]


def dag_ids(release: int, size: int) -> list[str]:
    """Return the DAGs of a release."""
    return [f"l0_to_l1_bench_n{number}_{release}.0" for number in range(size)]


def hand_written(dag_id: str) -> str:
    """Return what a person would write for plain nodes in a row."""
    nodes = [HAND_WRITTEN_NODE.format(number=number) for number in range(NODES)]
    edges = [HAND_WRITTEN_EDGE.format(upstream=number - 1, number=number) for number in range(1, NODES)]
    return "".join([HAND_WRITTEN_DAG.format(dag_id=dag_id), *nodes, *edges])


def uv(*arguments: object) -> None:
    """Run uv, without downloading a Python."""
    subprocess.run(
        [sys.executable, "-m", "uv", *map(str, arguments)],
        check=True,
        env={**os.environ, "UV_PYTHON_DOWNLOADS": "never"},
    )


def published_python(folder: Path) -> Path:
    """Make an environment with the published library and return its Python."""
    uv("venv", "--quiet", "--python", find_python(PUBLISHED_PYTHON), folder)
    python = folder / "bin" / "python"
    uv("pip", "install", "--quiet", "--python", python, f"dkist-processing-core=={PUBLISHED}")
    return python


def processor_seconds(*pids: int, fields_of: tuple[int, ...] = (*OWN, *CHILDREN)) -> float:
    """Return the processor time of some processes, and of their children that have ended, or one of the two."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(fields[each]) for each in fields_of)
    return ticks / TICKS


def megabytes(pid: int) -> float:
    """Return the proportional set size of a process with all its descendants."""
    total = 0
    for each in family(pid):
        with contextlib.suppress(OSError, AttributeError):
            rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
            total += int(re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)[1])  # type: ignore[index]
    return total / 1000


def tail(log: Path) -> str:
    """Return the end of a log."""
    return log.read_text(errors="replace")[-3000:]


class Peak:
    """The most memory that a process with its descendants has had, looked at every half second."""

    def __init__(self, pid: int) -> None:
        self.megabytes = 0.0
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            self.megabytes = max(self.megabytes, megabytes(self._pid))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


class LoopDurations:
    """Receives the duration of each of the scheduler's loops, which is a metric of Airflow's."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self.port = self._socket.getsockname()[1]
        self.milliseconds: list[float] = []

    def receive(self, seconds: float) -> None:
        """Note what arrives in some seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                found = re.findall(r"scheduler\.scheduler_loop_duration:([\d.]+)", self._socket.recv(65536).decode())
                self.milliseconds += map(float, found)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class Bench:
    """The forms, in one database server, with a migrated database that the others are copies of."""

    def __init__(self, server: PostgreSQL, folder: Path, forms: list[str], size: int) -> None:
        self.server, self.folder, self.size = server, folder, size
        self.found: dict[tuple[str, int], list[dict[str, Any]]] = {}
        self.tools = folder / "tools"
        uv("pip", "install", "--quiet", "--target", self.tools, "statsd")
        (self.tools / "idle_executor.py").write_text(EXECUTOR)
        self.published = published_python(folder / "published") if "published" in forms else None
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "86400",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",  # those that people write do not say
            "AIRFLOW__CORE__FERNET_KEY": "",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "PYTHONPATH": str(self.tools),
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

    def export(self, form: str, workflows: int, folder: Path) -> None:
        """Write the files of a form."""
        folder.mkdir(parents=True)
        releases = workflows // self.size
        if form in {"hand", "hand-many"}:
            for release in range(releases):
                dags = {each: hand_written(each) for each in dag_ids(release, self.size)}
                if form == "hand-many":
                    dags = {f"bench-{release}.0-dags": "".join(dags.values())}
                for name, text in dags.items():
                    (folder / f"{name}.py").write_text(HAND_WRITTEN_HEAD + text)
        else:
            python = self.published if form == "published" else sys.executable
            script = EXPORT + {"one-file": ONE_FILE, "zip": ARCHIVE}.get(form, OF_EACH)
            subprocess.run(
                [python, "-P", "-c", script, folder, str(releases), str(self.size), str(NODES)],
                env={**os.environ, "AIRFLOW_HOME": f"{folder}-airflow", "AIRFLOW__CORE__LOAD_EXAMPLES": "False"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                check=True,
            )

    def measure(self, form: str, workflows: int, *, passes: int, with_scheduler: bool) -> None:
        """Measure one form once."""
        name = f"{form}-{workflows}-{secrets.token_hex(4)}"
        folder = self.folder / name
        exported = folder / "exported"
        self.export(form, workflows, exported)
        self.server.query(f'CREATE DATABASE "{name}" TEMPLATE airflow', database="postgres")
        environment = self.of_form(folder, name)
        connection = psycopg2.connect(self.server.url("postgresql", name))
        connection.autocommit = True
        database = connection.cursor()

        def ask(statement: str, *values: object) -> Any:
            database.execute(statement, values)
            [[value]] = database.fetchall()
            return value

        found: dict[str, Any] = {"files": 0, "empty": ask("SELECT pg_database_size(current_database())")}
        try:
            with self.process(["dag-processor"], environment, folder) as process:
                log = folder / "dag-processor.log"
                is_ready = "SELECT count(*) FROM dag_bundle WHERE last_refreshed IS NOT NULL"
                wait_until(lambda: ask(is_ready), lambda: tail(log), interval=0.5, error=SystemExit)
                time.sleep(3)
                files = [each.name for each in exported.iterdir() if each.suffix in {".py", ".zip"}]
                found["files"] = len(files)
                for each in files:
                    (exported / each).rename(folder / "dags" / each)
                with Peak(process.pid) as peak:
                    found["passes"] = [
                        self.one_pass(database, ask, process, files, workflows) for _ in range(1 + passes)
                    ]
                found["megabytes"] = peak.megabytes
                before = processor_seconds(process.pid)
                time.sleep(IDLE_SECONDS)
                found["idle_percent"] = 100 * (processor_seconds(process.pid) - before) / IDLE_SECONDS
            if errors := ask("SELECT count(*) FROM import_error"):
                raise SystemExit(f"{form}: {errors} import errors:\n{ask('SELECT max(stacktrace) FROM import_error')}")
            found["database"] = ask("SELECT pg_database_size(current_database())") - found.pop("empty")
            for table in ("serialized_dag", "dag_code"):
                found[table] = ask("SELECT pg_total_relation_size(%s)", table)
            found["code"] = ask("SELECT sum(length(source_code)) FROM dag_code")
            found["parse_ms"] = self.task_start(environment, folder, files)
            if with_scheduler:
                found |= self.schedule(database, ask, environment, folder)
        finally:
            connection.close()
        self.server.query(f'DROP DATABASE "{name}"', database="postgres")
        shutil.rmtree(folder)
        self.found.setdefault((form, workflows), []).append(found)
        print(f"  {form}, {workflows}: {described(found)}", flush=True)

    def one_pass(
        self,
        database: Any,
        ask: Callable[..., Any],
        process: "subprocess.Popen[bytes]",
        files: list[str],
        workflows: int,
    ) -> dict[str, float]:
        """Let the DAG processor parse all files once, and return what it took."""
        assert self.server.process
        rows = "SELECT coalesce(sum(n_tup_ins), 0) FROM pg_stat_user_tables WHERE relname = %s"
        tables = ("dag_version", "serialized_dag", "dag_code", "dag_tag")

        def so_far() -> dict[str, float]:
            return {
                "cpu": processor_seconds(process.pid),
                "children_cpu": processor_seconds(process.pid, fields_of=CHILDREN),
                "database_cpu": processor_seconds(*family(self.server.process.pid)),
                "wal": float(ask("SELECT pg_current_wal_insert_lsn() - '0/0'")),
                **{table: float(ask(rows, table)) for table in tables},
            }

        time.sleep(2)  # the statistics of the database are late by a second
        before, since, started = so_far(), ask("SELECT clock_timestamp()"), time.monotonic()
        database.execute(
            "INSERT INTO dag_priority_parsing_request (id, bundle_name, relative_fileloc)"
            " SELECT md5(file), %s, file FROM unnest(%s) AS file",
            (BUNDLE, files),
        )
        wait_until(
            lambda: (
                process.poll() is not None
                or ask("SELECT count(*) FROM dag WHERE last_parsed_time > %s", since) >= workflows
            ),
            "a pass did not end",
            seconds=PASS_SECONDS,
            interval=0.5,
            error=SystemExit,
        )
        if process.poll() is not None:
            raise SystemExit("the DAG processor has ended")
        last = ask("SELECT extract(epoch FROM max(last_parsed_time) - %s) FROM dag", since)
        time.sleep(2)
        after = so_far()
        return {"seconds": min(float(last), time.monotonic() - started)} | {
            name: after[name] - before[name] for name in after
        }

    def task_start(self, environment: Mapping[str, str], folder: Path, files: list[str]) -> float:
        """Return the milliseconds of processor time with which a task parses its file; Airflow has compiled it."""
        some = [str(folder / "dags" / each) for each in sorted(files)[:20]]
        done = subprocess.run(
            [sys.executable, "-c", TASK_START, str(folder / "dags"), *some],
            env=dict(environment) | {"AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"},
            capture_output=True,
            text=True,
            check=True,
        )
        return statistics.median(map(float, done.stdout.split()))

    def schedule(
        self, database: Any, ask: Callable[..., Any], environment: Mapping[str, str], folder: Path
    ) -> dict[str, float]:
        """Trigger runs of some DAGs, and return what the loops of the scheduler take with them and without."""
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
            with self.process(arguments, environment | of_scheduler, folder) as process:
                deadline = time.monotonic() + 120
                while ask(queued) < len(dags):
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

    @contextlib.contextmanager
    def process(
        self, arguments: list[str], environment: Mapping[str, str], folder: Path
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """Run a component of Airflow."""
        with (folder / f"{arguments[0]}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "airflow", *arguments],
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            end(process)

    def report(self, sizes: list[int], forms: list[str]) -> None:
        """Print medians, ratios to the hand-written files, and what one workflow more takes."""
        summaries = {key: summary(found) for key, found in self.found.items()}
        for size in sizes:
            hand = summaries.get(("hand", size))
            print(f"\n{size} workflows of {NODES} nodes, {self.size} to a release; medians; (times that of hand)")
            for label, key, text in ROWS:
                cells = []
                for form in forms:
                    value = summaries[form, size].get(key)
                    ratio = ""
                    if value is not None and hand and hand.get(key):
                        ratio = f" ({value / hand[key]:.2f})"
                    cells.append("-" if value is None else f"{text.format(value)}{ratio}")
                print(f"  {label:<36}" + "".join(f"{each:>18}" for each in ([*forms] if key == "" else cells)))
        for size, more in itertools.pairwise(sizes):
            print(f"\nWhat a workflow more takes, from the {size}th to the {more}th, milliseconds")
            for key, label in (("again_s", "unchanged pass"), ("again_cpu", "processor time of it")):
                cells = [
                    f"{1000 * (summaries[form, more][key] - summaries[form, size][key]) / (more - size):.1f}"
                    for form in forms
                ]
                print(f"  {label:<36}" + "".join(f"{each:>18}" for each in cells))


ROWS = [
    ("", "", ""),
    ("files", "files", "{:.0f}"),
    ("first pass, s", "first_s", "{:.1f}"),
    ("  processor time of Airflow, s", "first_cpu", "{:.1f}"),
    ("  processor time of the database, s", "first_database_cpu", "{:.1f}"),
    ("unchanged pass, s", "again_s", "{:.1f}"),
    ("  processor time of Airflow, s", "again_cpu", "{:.1f}"),
    ("    of that, to parse and serialise", "again_children_cpu", "{:.1f}"),
    ("  processor time of the database, s", "again_database_cpu", "{:.1f}"),
    ("  written to the log (WAL), MB", "again_wal", "{:.2f}"),
    ("  new rows of versions, DAGs, code", "again_rows", "{:.0f}"),
    ("between passes, % of a processor", "idle_percent", "{:.1f}"),
    ("memory, MB", "megabytes", "{:.0f}"),
    ("database, MB", "database", "{:.1f}"),
    ("  serialized_dag, MB", "serialized_dag", "{:.2f}"),
    ("  dag_code, MB", "dag_code", "{:.2f}"),
    ("  its text, MB", "code", "{:.2f}"),
    (f"scheduler, loops that start {RUNS} runs, ms", "runs_ms", "{:.0f}"),
    ("scheduler, processor time, s", "scheduler_cpu", "{:.1f}"),
    ("scheduler, idle loop, ms", "idle_ms", "{:.1f}"),
    ("task start, parse of its file, ms", "parse_ms", "{:.1f}"),
]


def summary(found: list[dict[str, Any]]) -> dict[str, float]:
    """Return the medians of all rounds."""
    values = {key: statistics.median(each[key] for each in found) for key in found[0] if key != "passes"}
    for key in ("database", "serialized_dag", "dag_code", "code"):
        values[key] /= 1e6
    firsts = [each["passes"][0] for each in found]
    agains = [again for each in found for again in each["passes"][1:]]
    for label, passes in (("first", firsts), ("again", agains)):
        if passes:
            values[f"{label}_s"] = statistics.median(each["seconds"] for each in passes)
            values[f"{label}_cpu"] = statistics.median(each["cpu"] for each in passes)
            values[f"{label}_children_cpu"] = statistics.median(each["children_cpu"] for each in passes)
            values[f"{label}_database_cpu"] = statistics.median(each["database_cpu"] for each in passes)
            values[f"{label}_wal"] = statistics.median(each["wal"] for each in passes) / 1e6
            values[f"{label}_rows"] = max(
                sum(each[table] for table in ("dag_version", "serialized_dag", "dag_code")) for each in passes
            )
    return values


def described(found: dict[str, Any]) -> str:
    """Return one measurement as a line."""
    values = summary([found])
    keys = ("first_s", "first_cpu", "again_s", "again_cpu", "again_database_cpu", "megabytes", "database", "runs_ms")
    return ", ".join(f"{key} {values[key]:.1f}" for key in keys if key in values)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workflows", default="200", help="numbers of workflows, separated by commas")
    parser.add_argument("--release", type=int, default=20, help="workflows to a release")
    parser.add_argument("--variants", default=",".join(FORMS), help=f"which of {','.join(FORMS)}")
    parser.add_argument("--rounds", type=int, default=1, help="how often each form is measured in a fresh database")
    parser.add_argument("--passes", type=int, default=2, help="how many unchanged passes follow the first")
    parser.add_argument("--only-parsing", action="store_true", help="leave the scheduler out")
    options = parser.parse_args()
    sizes = [int(each) for each in options.workflows.split(",")]
    forms = options.variants.split(",")
    if any(size % options.release for size in sizes) or set(forms) - set(FORMS):
        parser.error(f"--workflows takes multiples of {options.release}, --variants some of {','.join(FORMS)}")
    # So that the servers are ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # An installer compiles what it installs; a checkout may not have been compiled yet.
    compileall.compile_dir(str(ROOT / "dkist_processing_core"), quiet=1)
    try:
        new_server = PostgreSQL.new()
    except UnavailableError as reason:
        sys.exit(str(reason))
    with tempfile.TemporaryDirectory() as temporary, new_server.running() as server:
        bench = Bench(server, Path(temporary), forms, options.release)
        for size in sizes:
            for _ in range(options.rounds):
                for form in forms:
                    bench.measure(form, size, passes=options.passes, with_scheduler=not options.only_parsing)
        bench.report(sizes, forms)


if __name__ == "__main__":
    main()
