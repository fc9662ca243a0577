"""Run in a process with Airflow: execute one operator with a recipe run id that nothing has validated."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

from airflow.exceptions import AirflowException

from dkist_processing_core.validation.dag_files import find_dag


def execute(folder: str, dag_id: str, task_id: str, recipe_run_id: str) -> dict[str, str | None]:
    """Return the error of the operator, if there is one, and the recipe run id that the task was given."""
    operator = find_dag(folder, dag_id).get_task(task_id)
    context = {"dag_run": SimpleNamespace(conf={"recipe_run_id": recipe_run_id}), "params": {}}
    operator.render_template_fields(context)
    error = None
    try:
        operator.execute(context)
    except AirflowException as raised:
        error = str(raised)
    return {"error": error, "given": operator.recipe_run_id}


if __name__ == "__main__":
    answer, *arguments = sys.argv[1:]
    Path(answer).write_text(json.dumps(execute(*arguments)))
