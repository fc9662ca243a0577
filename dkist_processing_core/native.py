"""
Airflow's own objects, made by executing the very text that is exported.

Runs in: author and CI, when Airflow is installed. There is one rendering path, so what is loaded here is what ships.
"""

from typing import TYPE_CHECKING, Any

from dkist_processing_core.exceptions import MissingExtraError
from dkist_processing_core.rendering.dag import dag_file, node_call, preamble
from dkist_processing_core.spec import NodeSpec, WorkflowSpec

if TYPE_CHECKING:
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.sdk import DAG

__all__ = ["dag", "operator"]


def dag(workflow: WorkflowSpec) -> "DAG":
    """Return the DAG that Airflow gets from the exported file."""
    loaded: DAG = _execute(dag_file(workflow), workflow.dag_id)["dag"]
    return loaded


def operator(workflow: WorkflowSpec, node: NodeSpec) -> "BashOperator":
    """Return the operator of one node, in no DAG yet."""
    text = f"{preamble(workflow)}\noperator = {node_call(workflow, node)}"
    made: BashOperator = _execute(text, workflow.dag_id)["operator"]
    return made


def _execute(text: str, name: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": name}
    try:
        import airflow  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Loading a workflow into Airflow", extra="airflow") from error
    exec(compile(text, f"{name}.py", "exec"), namespace)  # noqa: S102 - our own text, see above
    return namespace
