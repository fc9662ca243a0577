"""
Runs in a Python with one version of Airflow: load files, serialise their DAGs, run them to their ends.

The arguments are two files: the plan, and the file for the answer.
"""

import ctypes
import importlib.metadata
import json
import logging
import logging.handlers
import os
import shutil
import signal
import sys
from pathlib import Path

import pendulum

from dkist_processing_core.validation import dag_files


def load(file):
    """Load a file and serialise its DAGs, with the warnings of Python and of Airflow's log."""
    log = logging.handlers.BufferingHandler(capacity=100_000)
    log.setLevel(logging.WARNING)
    logging.getLogger().addHandler(log)
    loaded = dag_files.load(file)
    logged = [f"{record.levelname}: {record.getMessage()}" for record in log.buffer]
    return {**loaded, "all_warnings": [*loaded["warnings"], *loaded["other_warnings"], *logged]}


def load_tomorrow(file):
    """Load a file as if it were tomorrow, for the files that ask for the date."""
    today = pendulum.today
    pendulum.today = lambda *arguments: today(*arguments).add(days=1)
    return load(file)


def run(file, conf):
    """Run the DAG of a file that is the only one in Airflow's folder: two releases may have exported the same DAG."""
    copy = shutil.copy(file, os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    try:
        [done] = dag_files.run(copy, [conf])
    finally:
        Path(copy).unlink()
    return {**done, "tasks": {name: task["state"] for name, task in done["tasks"].items()}}


def main(plan, answer):
    """Load every file twice, then run it as planned."""
    whole = json.loads(plan.read_text())
    # A file without a DAG shows the warnings that Airflow gives about itself.
    empty = plan.with_name("empty.py")
    empty.write_text('"""A file for the DAG processor, without a DAG."""\n')
    dag_files.dag_bag(empty)
    [of_airflow] = dag_files.in_forks(load, [str(empty)])
    found = {}
    for file, *loads in zip(
        whole, dag_files.in_forks(load, whole), dag_files.in_forks(load_tomorrow, whole), strict=True
    ):
        for loaded in loads:
            loaded["warnings"] = [each for each in loaded["all_warnings"] if each not in of_airflow["all_warnings"]]
        runs = {name: run(file, conf) for name, conf in whole[file].items()} if loads[0]["dags"] else {}
        found[file] = {"loads": loads, "runs": runs}
    answer.write_text(json.dumps({"airflow": importlib.metadata.version("apache-airflow"), "files": found}, indent=1))


def end_with_parent():
    """Let the kernel end this process when the tests are killed (PR_SET_PDEATHSIG, 1), on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


if __name__ == "__main__":
    end_with_parent()
    main(*map(Path, sys.argv[1:]))
