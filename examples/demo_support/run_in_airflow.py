"""
Load the exported DAG files into Airflow and run them, one after the other.

A program for the environment that has Airflow. The first argument is the folder of the files, each further one is
``dag_id=recipe_run_id``. Between the lines of Airflow's own log, which are JSON, it prints JSON with the key ``demo``.
"""

import json
import sys
from typing import Any

from airflow.dag_processing.dagbag import DagBag


def tell(what: str, **facts: Any) -> None:
    """Print one line for the program that has started this one."""
    print(json.dumps({"demo": what, **facts}, default=str), flush=True)


def main() -> None:
    """Load, run, and tell how it went."""
    folder, *runs = sys.argv[1:]
    bag = DagBag(folder)
    tell("loaded", dags=sorted(bag.dags), import_errors=bag.import_errors)
    for each in runs:
        dag_id, _, recipe_run_id = each.partition("=")
        if dag_id not in bag.dags:
            continue
        tell("starts", dag_id=dag_id, recipe_run_id=int(recipe_run_id))
        run = bag.dags[dag_id].test(run_conf={"recipe_run_id": int(recipe_run_id)})
        instances = sorted(run.get_task_instances(), key=lambda instance: str(instance.start_date))
        tell(
            "ended",
            dag_id=dag_id,
            run_id=run.run_id,
            state=run.state,
            tasks=[
                {"name": each.task_id, "state": each.state, "seconds": each.duration, "pool": each.pool}
                for each in instances
            ],
        )


if __name__ == "__main__":
    main()
