"""
Load and serialise DAG files with the installed Airflow. Only this module imports Airflow's loader and serialiser.

Runs in: a process with Airflow, of any version that is supported. ``python -m`` this module ``FUNCTION ARGUMENTS
ANSWER`` calls one of its functions with arguments in JSON, and writes the answer to a file.
"""

import inspect
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from dkist_processing_core.exceptions import DKISTProcessingCoreError

__all__ = ["ExportedDagError", "check", "dag_bag", "find_dag", "in_forks", "load", "run"]


class ExportedDagError(DKISTProcessingCoreError, ValueError):
    """Airflow refuses an exported file, or finds no DAG in it."""


def dag_bag(place: str | Path) -> Any:
    """Return a DagBag of a folder or a file."""
    bag_class = dag_bag_class()
    options = {"include_examples": False} if "include_examples" in inspect.signature(bag_class).parameters else {}
    return bag_class(str(place), **options)


def dag_bag_class() -> Any:
    """Return the class that loads DAG files."""
    try:
        return import_module("airflow.dag_processing.dagbag").DagBag
    except (ImportError, AttributeError):  # before Airflow 3.2
        return import_module("airflow.models.dagbag").DagBag


def serialisation() -> Any:
    """Return the class that serialises DAGs for Airflow's database."""
    module = import_module("airflow.serialization.serialized_objects")
    return getattr(module, "DagSerialization", None) or module.SerializedDAG  # the latter before Airflow 3.2


def find_dag(place: str | Path, dag_id: str | None = None) -> Any:
    """Return a DAG of a folder or a file, by default the first one; raise an `ExportedDagError` if there is none."""
    bag = dag_bag(place)
    if dag_id in bag.dags:
        return bag.dags[dag_id]
    for file, problem in bag.import_errors.items():
        raise ExportedDagError(f"{file}: Airflow refuses it: {problem}")
    for dag in () if dag_id else bag.dags.values():
        return dag
    raise ExportedDagError(f"{place}: Airflow finds no DAG {f'{dag_id!r} ' if dag_id else ''}in it")


def serialise(dag: Any) -> tuple[str, list[str]]:
    """Return the serialised form of a DAG, and the names of the tasks that a scheduler reads from it."""
    stored = json.loads(json.dumps(serialisation().to_dict(dag), default=str))
    tasks = sorted(serialisation().from_dict(stored).task_dict)
    return json.dumps(_ordered(stored), sort_keys=True, indent=1), tasks


def _ordered(data: Any) -> Any:
    """Sort the lists of texts, as Airflow 3 does before a comparison, since some come from sets."""
    if isinstance(data, dict):
        return {key: _ordered(value) for key, value in data.items()}
    if isinstance(data, list):
        return sorted(data) if all(isinstance(each, str) for each in data) else [_ordered(each) for each in data]
    return data


def load(place: str) -> dict[str, Any]:
    """Describe the DAGs in a folder or a file, with the warnings about it and those about other files."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bag = dag_bag(place)
    blamed: dict[bool, list[str]] = {True: [], False: []}
    for each in caught:
        blamed[Path(each.filename).is_relative_to(place)].append(str(each.message))
    return {
        "import_errors": {str(file): str(problem) for file, problem in bag.import_errors.items()},
        "warnings": blamed[True],
        "other_warnings": blamed[False],
        "dags": {dag_id: _described(dag) for dag_id, dag in sorted(bag.dags.items())},
    }


def _described(dag: Any) -> dict[str, Any]:
    stored, stored_tasks = serialise(dag)
    return {
        "tasks": {task.task_id: sorted(task.upstream_task_ids) for task in dag.tasks},
        "queues": {task.task_id: [task.queue, task.pool] for task in dag.tasks},
        "tags": sorted(dag.tags),
        "stored": stored,
        "stored_tasks": stored_tasks,
    }


def check(folder: str) -> dict[str, dict[str, Any]]:
    """Load each file of a folder twice, and return its problem, empty if there is none, and the names of its tasks."""
    files = sorted(map(str, Path(folder).glob("*.py")))
    return {Path(file).name: found for file, found in zip(files, in_forks(_checked, files), strict=True)}


def _checked(file: str) -> dict[str, Any]:
    first, second = load(file), load(file)
    return {
        "problem": _problem(first, second),
        "tasks": sorted(name for dag in first["dags"].values() for name in dag["stored_tasks"]),
    }


def _problem(first: dict[str, Any], second: dict[str, Any]) -> str:
    for loaded in (first, second):
        if loaded["import_errors"]:
            return "\n".join(loaded["import_errors"].values())
        if not loaded["dags"]:
            return "Airflow finds no DAG in it"
    if first["dags"] != second["dags"]:
        return "each time it is loaded it is a different DAG, so Airflow would store a new version at every parse"
    return f"it makes Airflow warn: {first['warnings'][0]}" if first["warnings"] else ""


def in_forks(function: Callable[[str], Any], files: Iterable[str]) -> list[Any]:
    """Call a function for each file, each in a fork of this process, as a DAG processor does."""
    dag_bag_class()  # so that Airflow is imported once
    with get_context("fork").Pool(len(os.sched_getaffinity(0)), maxtasksperchild=1) as pool:
        return pool.map(function, files, chunksize=1)


def run(place: str, confs: Iterable[dict[str, Any]], dag_id: str | None = None) -> list[dict[str, Any]]:
    """Run a DAG to its end once with each conf, and describe each run. An invalid conf gives a ``refusal``."""
    # Loaded for each run: with Airflow 2, a run leaves its params in the DAG object.
    return [_run(find_dag(place, dag_id), conf) for conf in confs]


def _run(dag: Any, conf: dict[str, Any]) -> dict[str, Any]:
    try:
        ended = dag.test(run_conf=conf)
    except Exception as error:
        # A ParamValidationError; with Airflow 3.2, a ValueError.
        if "Param" not in type(error).__name__ and "param" not in str(error):
            raise
        return {"state": "", "run_id": "", "tasks": {}, "refusal": f"{type(error).__name__}: {error}"}
    tasks = {
        each.task_id: {"state": str(each.state), "seconds": each.duration, "pool": each.pool}
        for each in sorted(ended.get_task_instances(), key=lambda each: str(each.start_date))
    }
    return {"state": str(ended.state), "run_id": ended.run_id, "tasks": tasks, "refusal": ""}


if __name__ == "__main__":
    function, arguments, answer = sys.argv[1:]
    from dkist_processing_core.validation.configuration import options, pools

    functions: dict[str, Callable[..., Any]] = {
        "check": check,
        "load": load,
        "run": run,
        "options": options,
        "pools": pools,
    }
    Path(answer).write_text(json.dumps(functions[function](**json.loads(arguments))), encoding="utf-8")
