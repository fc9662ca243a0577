"""
Load the exported DAG files into Airflow and run them, one after the other.

A program for the environment that has Airflow. The first argument is the folder of the files, each further one is
``dag_id=recipe_run_id``. Between the lines of Airflow's own log, which are JSON, it prints JSON with the key ``demo``.
"""

import json
import sys
from typing import Any

from dkist_processing_core.validation import dag_files


def report(event: str, **values: Any) -> None:
    """Print one line for the program that has started this one."""
    print(json.dumps({"demo": event, **values}), flush=True)


def main() -> None:
    """Load and run the files, and report each step."""
    folder, *runs = sys.argv[1:]
    loaded = dag_files.load(folder)
    report("loaded", dags=sorted(loaded["dags"]), import_errors=loaded["import_errors"])
    for each in runs:
        dag_id, _, number = each.partition("=")
        if dag_id in loaded["dags"]:
            report("starts", dag_id=dag_id, recipe_run_id=int(number))
            [run] = dag_files.run(folder, [{"recipe_run_id": int(number)}], dag_id)
            report("ended", dag_id=dag_id, **run)


if __name__ == "__main__":
    main()
