"""
The one place that decides what a legal name is, and how names are made of parts.

Runs in: author and CI, task environment. A dag id must be usable as a file name, as an Airflow dag id, and in a
shell or a URL without quoting; Airflow itself allows the same characters in a dag id and 250 of them.
"""

import string
from collections.abc import Iterable

from dkist_processing_core.exceptions import IllegalNameError

__all__ = ["check_name", "dag_name", "dag_tags", "workflow_name_from_details"]

LEGAL_CHARACTERS = string.ascii_letters + string.digits + "-._"
MAXIMUM_WORKFLOW_NAME_LENGTH = 100
MAXIMUM_ID_LENGTH = 250
TEMPLATE_SUFFIXES = (".sh", ".bash")


def check_name(kind: str, name: object) -> str:
    """
    Return the name if it can be (part of) an Airflow id.

    Parameters
    ----------
    kind
        What the name is for, to be shown in the error.
    name
        The name to judge.

    Raises
    ------
    IllegalNameError
        If it is no string, is empty or too long, has other characters than ASCII letters, digits, ``-``, ``.`` and
        ``_``, or ends like the name of a file that Airflow's bash operator would look for.
    """
    if not isinstance(name, str) or not name:
        raise IllegalNameError(
            f"{kind} must be a string of at least one character, not {name!r}",
            remedy="Give it a name",
        )
    illegal = sorted(set(name) - set(LEGAL_CHARACTERS))
    if illegal:
        raise IllegalNameError(
            f"{kind} {name!r} contains {', '.join(map(repr, illegal))}",
            remedy="Use only ASCII letters, digits, '-', '.' and '_'",
        )
    if name.endswith(TEMPLATE_SUFFIXES):
        raise IllegalNameError(
            f"{kind} {name!r} ends like the name of a script, which Airflow would look for",
            remedy="Let it end in something else",
        )
    if len(name) > MAXIMUM_ID_LENGTH:
        raise IllegalNameError(
            f"{kind} {name!r} is {len(name)} characters long", remedy=f"Use at most {MAXIMUM_ID_LENGTH}"
        )
    return name


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


def check_workflow_name_length(name: str) -> str:
    """Return the workflow name if it has at most 100 characters, which leaves room for the version in the dag id."""
    if len(name) > MAXIMUM_WORKFLOW_NAME_LENGTH:
        raise IllegalNameError(
            f"workflow name {name!r} is {len(name)} characters long",
            remedy=f"Use at most {MAXIMUM_WORKFLOW_NAME_LENGTH}",
        )
    return name


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
