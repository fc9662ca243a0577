"""
How the names of workflows, DAGs and their tags are made of parts.

Runs in: author and CI.
"""

from collections.abc import Iterable

from dkist_processing_core.authoring.names import check_name, check_workflow_name_length

__all__ = ["dag_name", "dag_tags", "workflow_name_from_details"]


def workflow_name_from_details(input_data: str, output_data: str, category: str, detail: str | None = None) -> str:
    """
    Compose the name of a workflow from what goes in, what comes out, and what it is for.

    Parameters
    ----------
    input_data, output_data
        Kind of data that the workflow reads and writes, such as ``l0`` and ``l1``.
    category
        What it is for, such as the name of an instrument.
    detail
        What tells it from a similar workflow.

    Returns
    -------
    str
        ``{input_data}_to_{output_data}_{category}``, followed by ``_{detail}`` if there is one.

    Raises
    ------
    ValueError
        If the name would be longer than 100 characters.
    """
    name = f"{input_data}_to_{output_data}_{category}"
    if detail:
        name += f"_{detail}"
    return check_workflow_name_length(name)


def dag_name(workflow_name: str, workflow_version: str) -> str:
    """
    Compose the Airflow dag id of one version of a workflow.

    Returns
    -------
    str
        ``{workflow_name}_{workflow_version}``.

    Raises
    ------
    ValueError
        If it contains anything but ASCII letters, digits, ``-``, ``.`` and ``_``, or more than 250 characters.
    """
    return check_name("dag name", f"{workflow_name}_{workflow_version}")


def dag_tags(*groups: Iterable[str]) -> tuple[str, ...]:
    """Merge groups of tags: each once, without empty ones, sorted."""
    return tuple(sorted({tag for group in groups for tag in group if tag}))
