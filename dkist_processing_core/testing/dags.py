"""
Load and run exported DAG files, whatever the version of Airflow.

Runs in: author and CI where Airflow is installed. Where things are in Airflow differs between its versions; a package
that tests its exports by this module does not have to know.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dkist_processing_core.exceptions import DKISTProcessingCoreError
from dkist_processing_core.scheduling.loading import require_airflow
from dkist_processing_core.validation.airflow import dag_bag

__all__ = ["ExportedDagError", "ExportedRun", "load_exported_dag", "run_exported_dag"]

SHOWN_CHARACTERS = 3000


class ExportedDagError(DKISTProcessingCoreError, ValueError):
    """Airflow refuses an exported file, or finds no DAG in it."""


@dataclass(frozen=True)
class ExportedRun:
    """
    What became of a run.

    Attributes
    ----------
    state
        State of the run, such as ``success`` or ``failed``; empty if it was refused.
    tasks
        State of each task.
    refusal
        Why Airflow refused to run the DAG at all, as for a conf without a recipe run id; empty if it did not.
    output
        All that Airflow and the tasks have said.
    """

    state: str
    tasks: Mapping[str, str]
    refusal: str
    output: str


def load_exported_dag(file: str | Path) -> Any:
    """
    Load an exported file as Airflow does.

    Parameters
    ----------
    file
        The file.

    Returns
    -------
    DAG
        Airflow's own object, of whichever class that is in the version that is installed.

    Raises
    ------
    MissingExtraError
        If Airflow is not installed.
    ExportedDagError
        If Airflow refuses the file, or finds no DAG in it.
    """
    require_airflow("Loading exported files")
    bag = dag_bag(Path(file).resolve())
    for problem in bag.import_errors.values():
        raise ExportedDagError(f"{file}: Airflow refuses it: {problem}")
    for dag in bag.dags.values():
        return dag
    raise ExportedDagError(f"{file}: Airflow finds no DAG in it")


def run_exported_dag(
    file: str | Path,
    conf: Mapping[str, Any],
    *,
    airflow_home: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    seconds: float = 600,
) -> ExportedRun:
    """
    Run an exported file to its end with the installed Airflow, in a process of its own, without a scheduler.

    The tasks run as they would on a worker, in environments of their releases; settings of the worker, such as
    ``DKIST_ENVIRONMENT_CACHE`` or ``PIP_FIND_LINKS``, are those of this process and of ``environment``.

    Parameters
    ----------
    file
        The file.
    conf
        What the run is triggered with, such as ``{"recipe_run_id": 1}``.
    airflow_home
        Folder for Airflow's database, which is made if it is not there; a new one by default, which takes some
        seconds to make.
    environment
        More environment variables.
    seconds
        Limit of the whole call.

    Raises
    ------
    MissingExtraError
        If Airflow is not installed.
    ExportedDagError
        If Airflow refuses the file, or cannot be run.
    subprocess.TimeoutExpired
        If it takes longer.
    """
    require_airflow("Loading exported files")
    with ExitStack() as stack:
        home = Path(airflow_home or stack.enter_context(tempfile.TemporaryDirectory(prefix="dkist-airflow-")))
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dkist-run-")))
        (place / "dags").mkdir()
        copy = str(shutil.copy(file, place / "dags"))
        variables = {
            **os.environ,
            "AIRFLOW_HOME": str(home.resolve()),
            "AIRFLOW__CORE__DAGS_FOLDER": str(place / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            **(environment or {}),
        }
        if not (home / "airflow.db").exists():
            _run([sys.executable, "-m", "airflow", "db", "migrate"], variables, seconds)
        answer = place / "answer.json"
        program = [sys.executable, "-P", "-m", __name__, copy, json.dumps(dict(conf)), str(answer)]
        output = _run(program, variables, seconds)
        told = json.loads(answer.read_text(encoding="utf-8"))
    return ExportedRun(told["state"], told["tasks"], told["refusal"], output)


def _run(command: list[str], environment: Mapping[str, str], seconds: float) -> str:
    done = subprocess.run(  # noqa: S603 - Airflow, and our own module
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=seconds,
        check=False,
    )
    if done.returncode:
        raise ExportedDagError(
            f"Airflow could not be run, exit status {done.returncode}. It said:\n{done.stdout[-SHOWN_CHARACTERS:]}"
        )
    return done.stdout


def main(file: str, conf: str, answer: str) -> None:
    """Run the DAG of a file in this process, and write what became of it."""
    dag = load_exported_dag(file)
    told: dict[str, Any] = {"state": "", "tasks": {}, "refusal": ""}
    try:
        run = dag.test(run_conf=json.loads(conf))
    except Exception as error:
        # The class of a refusal differs between the versions as well.
        if "Param" not in type(error).__name__ and "param" not in str(error):
            raise
        told["refusal"] = f"{type(error).__name__}: {error}"
    else:
        told["state"] = str(run.state)
        told["tasks"] = {each.task_id: str(each.state) for each in run.get_task_instances()}
    Path(answer).write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
