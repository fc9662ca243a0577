"""The rows of the matrix: all files on each version of Airflow."""

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from dkist_processing_core.validation.airflow import Airflow
from support.matrix import environments
from support.matrix.files import Tried, all_files, write_client, write_releases
from support.rabbitmq import RabbitMQ

QUEUE = "recipe.run.failure.q"
DRIVER = Path(__file__).with_name("driver.py")
ROW_SECONDS = 1200


@dataclass
class Row:
    """
    The result of all files on one version of Airflow.

    Attributes
    ----------
    version
        The version of Airflow, as the table names it.
    folder
        The folder of this row's files.
    of_file
        The result of each file, by its path.
    messages
        The failure messages of each run, by Airflow's id of the run.
    airflow
        The version of Airflow that was installed.
    seconds
        The duration of all, and the part of it that the environment took.
    same_as
        The version whose row this one would repeat; it was not tried then.
    error
        The error that ended the row.
    """

    version: str
    folder: Path
    of_file: dict[str, dict] = field(default_factory=dict)
    messages: dict[str, list[dict]] = field(default_factory=dict)
    airflow: str = ""
    seconds: tuple[float, float] = (0.0, 0.0)
    same_as: str = ""
    error: Exception | None = None


@dataclass
class Matrix:
    """All rows, their files, and the messages that belong to none of them."""

    files: list[Tried]
    rows: dict[str, Row]
    strays: list[dict]


def run_matrix(
    folder: Path,
    airflows: list[str],
    published: list[str],
    *,
    core_wheel: Path,
    rabbitmq: RabbitMQ,
    say: Callable[[str], None],
) -> Matrix:
    """Set up what all rows share, and try the versions, as many at a time as there are processors."""
    began = time.monotonic()
    client, releases = write_client(folder / "sources"), folder / "releases"
    write_releases(releases, core_wheel, client)
    files = all_files(folder, releases, client, published)
    say(f"{len(files)} files were exported or found, in {time.monotonic() - began:.0f} s")
    worker = {
        "PATH": f"{environments.worker().parent}{os.pathsep}{os.environ['PATH']}",
        "PIP_NO_COMPILE": "1",
        "PIP_FIND_LINKS": str(releases),
        "UV_FIND_LINKS": str(releases),
        "DKIST_ENVIRONMENT_CACHE": str(folder / "environments"),
        "MESH_CONFIG": rabbitmq.mesh_config,
    }

    def tried(entry: dict[str, object]) -> Row:
        row = Row(entry["version"], folder / f"airflow-{entry['version']}")
        try:
            try_version(row, entry, files, worker, core_wheel)
        except Exception as error:
            row.error = error
        took = f"{row.seconds[0]:.0f} s, of which the environment took {row.seconds[1]:.0f} s"
        say(f"Airflow {row.version} {f'is {row.same_as}' if row.same_as else f'took {took}'}")
        return row

    entries = [entry for entry in environments.TABLE["airflow"] if entry["version"] in airflows]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        rows = {row.version: row for row in pool.map(tried, entries)}
    strays = []
    for message in [json.loads(body) for _, body in rabbitmq.take_all(QUEUE)]:
        for row in rows.values():
            if message["dagRunId"] in row.messages:
                row.messages[message["dagRunId"]].append(message)
                break
        else:
            strays.append(message)
    return Matrix(files, rows, strays)


def try_version(
    row: Row, entry: dict[str, object], files: list[Tried], worker: dict[str, str], core_wheel: Path
) -> None:
    """Let one version of Airflow load and run all files."""
    if row.version == "newest":
        newest = environments.newest_airflow(entry)
        if newest in environments.versions("airflow"):
            row.same_as = newest
            return
        entry = {**entry, "version": newest}
    began = time.monotonic()
    python = environments.airflow(entry, core_wheel)
    set_up = time.monotonic() - began
    for name in ("dags", "facts"):
        (row.folder / name).mkdir(parents=True)
    facts, spool = str(row.folder / "facts"), str(row.folder / "spool")
    variables = {**worker, "DKIST_EXAMPLE_SCRATCH": facts, "DKIST_ISB_SPOOL": spool, "FACTS": facts}
    airflow = Airflow(row.folder, row.folder / "dags", variables, str(python))
    plan, answer = row.folder / "plan.json", row.folder / "answer.json"
    plan.write_text(json.dumps({str(each.path): each.runs for each in files}))
    airflow.migrate()
    output = airflow.run([python, "-P", DRIVER, plan, answer], seconds=ROW_SECONDS)
    (row.folder / "output.log").write_text(output)
    found = json.loads(answer.read_text())
    row.airflow, row.of_file = found["airflow"], found["files"]
    ids = [run["run_id"] for of_file in row.of_file.values() for run in of_file["runs"].values() if run["run_id"]]
    assert max(Counter(ids).values(), default=1) == 1, ids
    row.messages = {run_id: [] for run_id in ids}
    row.seconds = (time.monotonic() - began, set_up)
