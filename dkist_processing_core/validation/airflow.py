"""
Let Airflow itself load and serialise exported files, as its DAG processor does.

Runs in: author and CI where Airflow is installed, in a process of its own: what Airflow prints, writes into its home
folder and keeps in memory is then nobody's concern. ``python -m dkist_processing_core.validation.airflow FOLDER
ANSWER`` writes what it finds to the file ANSWER.
"""

import hashlib
import inspect
import json
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from dkist_processing_core.exceptions import DKISTProcessingCoreError

__all__ = ["AirflowUnusableError", "LoadedFile", "dag_bag", "load_by_airflow"]

START_SECONDS = 120
SECONDS_PER_FILE = 10
SHOWN_CHARACTERS = 2000


class AirflowUnusableError(DKISTProcessingCoreError):
    """Airflow is installed and cannot be run."""


@dataclass(frozen=True)
class LoadedFile:
    """
    What Airflow makes of one file.

    Attributes
    ----------
    problem
        Why Airflow refuses it, or what it warns about; empty if all is well.
    tasks
        Names of the tasks that it finds, sorted.
    """

    problem: str
    tasks: tuple[str, ...] = ()


def load_by_airflow(texts: Mapping[str, str]) -> dict[str, LoadedFile]:
    """
    Load DAG files into a DagBag of the installed Airflow twice, and serialise each DAG.

    Parameters
    ----------
    texts
        The text of each file, by its name.

    Returns
    -------
    dict of str to LoadedFile
        What Airflow makes of each, by the same names.

    Raises
    ------
    AirflowUnusableError
        If Airflow cannot be run at all.
    """
    with tempfile.TemporaryDirectory(prefix="dkist-airflow-check-") as place:
        folder, answer = Path(place, "dags"), Path(place, "answer.json")
        folder.mkdir()
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        _run(folder, answer, seconds=START_SECONDS + SECONDS_PER_FILE * len(texts))
        found = json.loads(answer.read_text(encoding="utf-8"))
    return {name: LoadedFile(found[name]["problem"], tuple(found[name]["tasks"])) for name in texts}


def _run(folder: Path, answer: Path, *, seconds: float) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        "AIRFLOW_HOME": str(folder.parent / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    # Airflow's processes are a group of their own, so that none of them is left, whatever happens here.
    with subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-P", "-m", "dkist_processing_core.validation.airflow", str(folder), str(answer)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise AirflowUnusableError(f"it did not load the files within {seconds:.0f} s") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode or not answer.exists():
        raise AirflowUnusableError(f"exit status {process.returncode}. It said:\n{said[-SHOWN_CHARACTERS:].strip()}")


def main(folder: Path, answer: Path) -> None:
    """Load the files of a folder, in this process and others like it, and write what is found."""
    files = sorted(folder.glob("*.py"))
    _dag_bag_class()
    # Airflow is imported once and each file loaded in a fork, as its DAG processor does.
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("fork")) as processes:
        found = dict(zip([file.name for file in files], processes.map(_examined, files), strict=True))
    answer.write_text(json.dumps(found), encoding="utf-8")


def _examined(file: Path) -> dict[str, Any]:
    """Load a file twice and tell what is wrong with it, if anything, and what tasks it has."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        first, second = _load(file), _load(file)
    problem = first["problem"] or second["problem"]
    if not problem and first["hash"] != second["hash"]:
        problem = "it is another DAG each time that it is loaded, so Airflow would store a new version at every parse"
    warned = [str(each.message) for each in caught if Path(each.filename) == file]
    if not problem and warned:
        problem = f"it makes Airflow warn: {warned[0]}"
    return {"problem": problem, "tasks": first["tasks"]}


def _load(file: Path) -> dict[str, Any]:
    bag = dag_bag(file)
    if bag.import_errors:
        return {"problem": "\n".join(map(str, bag.import_errors.values())), "tasks": [], "hash": ""}
    if not bag.dags:
        return {"problem": "Airflow finds no DAG in it", "tasks": [], "hash": ""}
    texts = [json.dumps(_serialised(dag), sort_keys=True, default=str) for _, dag in sorted(bag.dags.items())]
    tasks = sorted(name for dag in bag.dags.values() for name in dag.task_dict)
    return {"problem": "", "tasks": tasks, "hash": hashlib.sha256("\n".join(texts).encode()).hexdigest()}


def dag_bag(place: Path) -> Any:
    """Return a DagBag of the installed Airflow with what is in a folder or a file."""
    bag_class = _dag_bag_class()
    options = {"include_examples": False} if "include_examples" in inspect.signature(bag_class).parameters else {}
    return bag_class(str(place), **options)


def _dag_bag_class() -> Any:
    """Return the class, which has moved between versions of Airflow."""
    try:
        return import_module("airflow.dag_processing.dagbag").DagBag
    except (ImportError, AttributeError):
        return import_module("airflow.models.dagbag").DagBag


def _serialised(dag: Any) -> Any:
    """Return the DAG as Airflow stores it, by the class that does so in this version of Airflow."""
    module = import_module("airflow.serialization.serialized_objects")
    return (getattr(module, "DagSerialization", None) or module.SerializedDAG).to_dict(dag)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
