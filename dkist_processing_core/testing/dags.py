"""
Load and run exported DAG files with any supported version of Airflow.

Runs in: author and CI where Airflow is installed. Versions of Airflow differ in the modules and functions that this
needs. A package that tests its exports with this module is independent of them.
"""

import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dkist_processing_core.authoring.airflow import require_airflow
from dkist_processing_core.validation.airflow import Airflow, AirflowUnusableError
from dkist_processing_core.validation.dag_files import ExportedDagError, find_dag

__all__ = ["ExportedDagError", "ExportedRun", "load_exported_dag", "run_exported_dag"]


@dataclass(frozen=True)
class ExportedRun:
    """
    The result of `run_exported_dag`.

    Attributes
    ----------
    state
        State of the run, such as ``success`` or ``failed``. Empty if Airflow refused to run the DAG.
    tasks
        State of each task, by its task id.
    refusal
        Why Airflow refused to run the DAG, such as a conf without a recipe run id. Empty if it ran the DAG.
    output
        Everything that Airflow and the tasks printed.
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
        The exported DAG file.

    Returns
    -------
    DAG
        The DAG. Its class depends on the version of Airflow.

    Raises
    ------
    MissingExtraError
        If Airflow is not installed.
    ExportedDagError
        If Airflow refuses the file, or finds no DAG in it.
    """
    require_airflow("Loading exported files")
    return find_dag(Path(file).resolve())


def run_exported_dag(
    file: str | Path,
    conf: Mapping[str, Any],
    *,
    airflow_home: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    seconds: float = 600,
) -> ExportedRun:
    """
    Run an exported DAG file with the installed Airflow, in a process of its own and without a scheduler.

    The tasks run as on a worker, in environments of their releases. Settings of the worker, such as
    ``DKIST_ENVIRONMENT_CACHE`` or ``PIP_FIND_LINKS``, are taken from this process and from ``environment``.

    Parameters
    ----------
    file
        The exported DAG file.
    conf
        The conf of the run, such as ``{"recipe_run_id": 1}``.
    airflow_home
        Folder for Airflow's database. It is created if it does not exist. The default is a temporary folder, whose
        database takes some seconds to create.
    environment
        Additional environment variables.
    seconds
        Time limit of the whole call, in seconds.

    Returns
    -------
    ExportedRun
        The states of the run and of its tasks, and the output.

    Raises
    ------
    MissingExtraError
        If Airflow is not installed.
    ExportedDagError
        If Airflow refuses the file, or cannot be run.
    subprocess.TimeoutExpired
        If the call takes longer than ``seconds``.
    """
    require_airflow("Running exported files")
    deadline = time.monotonic() + seconds
    with ExitStack() as stack:
        home = Path(airflow_home or stack.enter_context(tempfile.TemporaryDirectory(prefix="dkist-airflow-")))
        # In a folder without other files: two releases may have exported the same DAG.
        dags = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dkist-dags-")))
        airflow = Airflow(home, dags, environment or {})
        copy = str(Path(shutil.copy(file, dags)).resolve())
        try:
            airflow.migrate(seconds=seconds)
            [run], output = airflow.ask("run", seconds=deadline - time.monotonic(), place=copy, confs=[dict(conf)])
        except AirflowUnusableError as error:
            raise ExportedDagError(f"{file}: Airflow could not run it: {error}") from None
    states = {name: task["state"] for name, task in run["tasks"].items()}
    return ExportedRun(run["state"], states, run["refusal"], output)
