"""Run in a child process with Airflow: load a folder of DAG files, run a DAG, execute one operator."""

import json
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace


def load(folder: str) -> dict[str, object]:
    """Load every file of a folder, with a warning that blames one of them counting as an error."""
    from airflow.dag_processing.dagbag import DagBag

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bag = DagBag(folder)
    blamed = [str(each.message) for each in caught if Path(each.filename).is_relative_to(folder)]
    return {
        "import_errors": bag.import_errors,
        "warnings": blamed,
        "dags": {
            dag_id: {
                "tasks": {task.task_id: sorted(task.upstream_task_ids) for task in dag.tasks},
                "queues": {task.task_id: [task.queue, task.pool] for task in dag.tasks},
                "tags": sorted(dag.tags),
            }
            for dag_id, dag in bag.dags.items()
        },
    }


def run(folder: str, dag_id: str, conf: str) -> dict[str, object]:
    """Run one DAG to its end."""
    from airflow.dag_processing.dagbag import DagBag

    dag_run = DagBag(folder).dags[dag_id].test(run_conf=json.loads(conf))
    return {
        "state": str(dag_run.state),
        "run_id": dag_run.run_id,
        "tasks": {each.task_id: str(each.state) for each in dag_run.get_task_instances()},
    }


def refusals(folder: str, dag_id: str, confs: str) -> dict[str, object]:
    """Try to run one DAG with each conf and tell how each was refused; None if it was not."""
    from airflow.dag_processing.dagbag import DagBag

    dag = DagBag(folder).dags[dag_id]
    answers = []
    for conf in json.loads(confs):
        try:
            dag.test(run_conf=conf)
        except Exception as error:
            answers.append(f"{type(error).__name__}: {error}")
        else:
            answers.append(None)
    return {"answers": answers}


def execute(folder: str, dag_id: str, task_id: str, recipe_run_id: str) -> dict[str, object]:
    """Execute one operator with a recipe run id that nothing has validated."""
    from airflow.dag_processing.dagbag import DagBag
    from airflow.exceptions import AirflowException

    run = SimpleNamespace(conf={"recipe_run_id": recipe_run_id})

    operator = DagBag(folder).dags[dag_id].get_task(task_id)
    context = {"dag_run": run, "params": {}}
    operator.render_template_fields(context)
    try:
        operator.execute(context)
    except AirflowException as error:
        return {"error": str(error), "given": operator.recipe_run_id}
    return {"error": None, "given": operator.recipe_run_id}


if __name__ == "__main__":
    answer, verb, *arguments = sys.argv[1:]
    Path(answer).write_text(
        json.dumps({"load": load, "run": run, "refusals": refusals, "execute": execute}[verb](*arguments))
    )
