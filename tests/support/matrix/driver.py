"""
Run in a Python that has one version of Airflow: load files, serialise their DAGs, run them to their ends.

The arguments are two files: what to do, and where to write what came of it.
"""

import ctypes
import importlib.metadata
import json
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import time
import traceback
import warnings
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import pendulum

from dkist_processing_core.validation.airflow import dag_bag


class Heard(logging.Handler):
    """Keep what Airflow's log says in earnest."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.said = []

    def emit(self, record):
        self.said.append(f"{record.levelname}: {record.getMessage()}")


def load(file):
    """Load a file and serialise its DAGs."""
    heard = Heard()
    logging.getLogger().addHandler(heard)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bag = dag_bag(file)
    return {
        "errors": list(bag.import_errors.values()),
        "warnings": [f"{each.category.__name__}: {each.message}" for each in caught] + heard.said,
        "tasks": {task.task_id: sorted(task.upstream_task_ids) for dag in bag.dags.values() for task in dag.tasks},
        "serialised": [serialised(dag) for dag in bag.dags.values()],
    }


def load_tomorrow(file):
    """Load a file when the day is another one, for those files that ask."""
    today = pendulum.today
    pendulum.today = lambda *arguments: today(*arguments).add(days=1)
    return load(file)


def serialised(dag):
    """Return the DAG as Airflow stores it, and the tasks that the scheduler reads from there."""
    module = import_module("airflow.serialization.serialized_objects")
    serialisation = getattr(module, "DagSerialization", None) or module.SerializedDAG
    data = json.loads(json.dumps(serialisation.to_dict(dag)))
    text = json.dumps(in_order(data), sort_keys=True, indent=1)
    return {"text": text, "tasks": sorted(serialisation.from_dict(data).task_dict)}


def in_order(data):
    """Return data with lists of texts sorted, as Airflow 3 compares them: some come from sets, of Airflow's own."""
    if isinstance(data, dict):
        return {key: in_order(value) for key, value in data.items()}
    if isinstance(data, list):
        is_text = all(isinstance(each, str) for each in data)
        return sorted(data) if is_text else [in_order(each) for each in data]
    return data


@contextmanager
def deployed(file):
    """Let a file be the only one in Airflow's folder: files of two releases may be of one and the same DAG."""
    copy = Path(shutil.copy(file, os.environ["AIRFLOW__CORE__DAGS_FOLDER"]))
    yield copy
    copy.unlink()


def run(file, conf):
    """Load a file, anew since a run on Airflow 2 leaves its params in the DAG, and run its DAG."""
    began = time.monotonic()
    told = {"state": "", "tasks": {}, "run_id": "", "refusal": ""}
    with deployed(file) as copy:
        [dag] = dag_bag(copy).dags.values()
        try:
            done = dag.test(run_conf=conf)
        except Exception as error:
            traceback.print_exc()
            told["refusal"] = f"{type(error).__name__}: {error}"
        else:
            told["state"] = str(done.state)
            told["tasks"] = {each.task_id: str(each.state) for each in done.get_task_instances()}
            told["run_id"] = done.run_id
    return {**told, "seconds": time.monotonic() - began}


def in_forks(function, files):
    """Call a function for each file, each in a fork of this process, as a DAG processor does."""
    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=1) as pool:
        return pool.map(function, files, chunksize=1)


def main(plan, answer):
    """Load every file twice, then run what is to be run."""
    whole = json.loads(plan.read_text())
    # What Airflow has to say about itself it says of a file without a DAG as well.
    empty = plan.with_name("empty.py")
    empty.write_text('"""A file that Airflow looks into, and that has no DAG."""\n')
    dag_bag(empty)
    [of_airflow] = in_forks(load, [empty])
    told = {}
    for file, first, second in zip(whole, in_forks(load, whole), in_forks(load_tomorrow, whole), strict=True):
        for loaded in (first, second):
            loaded["warnings"] = [each for each in loaded["warnings"] if each not in of_airflow["warnings"]]
        runs = {name: run(file, conf) for name, conf in whole[file].items()} if first["tasks"] else {}
        told[file] = {"first": first, "second": second, "runs": runs}
    version = importlib.metadata.version("apache-airflow")
    answer.write_text(json.dumps({"airflow": version, "of_airflow": of_airflow["warnings"], "files": told}, indent=1))


def end_with_parent():
    """Let the kernel end this process when the tests are killed (PR_SET_PDEATHSIG, 1), on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


if __name__ == "__main__":
    end_with_parent()
    main(*map(Path, sys.argv[1:]))
