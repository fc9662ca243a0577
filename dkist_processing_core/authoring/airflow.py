"""
Detect Airflow, and load the text of an exported file into it.

Runs in: author and CI. What is loaded here is the text that is exported.
"""

from importlib.util import find_spec
from typing import Any

from dkist_processing_core.exceptions import MissingExtraError

__all__ = ["execute", "is_airflow_installed", "make_operator", "require_airflow"]


def is_airflow_installed() -> bool:
    """Return whether Airflow is installed."""
    found = find_spec("airflow")
    # A folder named airflow, as deployments have one, is a namespace package, which has no origin.
    return found is not None and found.origin is not None


def require_airflow(feature: str) -> None:
    """
    Do nothing if Airflow is installed.

    Parameters
    ----------
    feature
        What needs it, for the error.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    if not is_airflow_installed():
        raise MissingExtraError(feature, extra="airflow")


def execute(text: str, name: str) -> dict[str, Any]:
    """
    Execute the text of an exported file and return its global names.

    Parameters
    ----------
    text
        The text, as this library renders it.
    name
        Name of the file without ``.py``, for tracebacks.

    Raises
    ------
    MissingExtraError
        If Airflow is not installed.
    """
    require_airflow("Loading a workflow into Airflow")
    namespace: dict[str, Any] = {"__name__": name}
    exec(compile(text, f"{name}.py", "exec"), namespace)  # noqa: S102 - our own text, see above
    return namespace


def make_operator(text: str, /, **workflow: str) -> Any:
    """
    Return the operator that statements assign to the variable ``operator``; it does not belong to a DAG yet.

    Parameters
    ----------
    text
        The statements, as this library renders them.
    **workflow
        Name, version and distribution of the workflow, and the release that renders it, as of `workflow_dag`.

    Raises
    ------
    MissingExtraError
        If Airflow is not installed.
    """
    require_airflow("Loading a task into Airflow")
    from dkist_processing_core.scheduling import PROTOCOL, workflow_dag

    # Not entered, so that there is no DAG to which Airflow would add the operator.
    workflow_dag.current = workflow_dag(protocol=PROTOCOL, tags=[], **workflow)
    try:
        return execute(text, "operator")["operator"]
    finally:
        workflow_dag.current = None
