"""
The one place that decides what a legal name is.

Runs in: author and CI, task environment. A dag id must be usable as a file name, as an Airflow dag id, and in a
shell or a URL without quoting; Airflow itself allows the same characters in a dag id and 250 of them.
"""

import string

from dkist_processing_core.exceptions import IllegalNameError

__all__ = ["check_name", "check_workflow_name_length"]

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


def check_workflow_name_length(name: str) -> str:
    """Return the workflow name if it has at most 100 characters, which leaves room for the version in the dag id."""
    if len(name) > MAXIMUM_WORKFLOW_NAME_LENGTH:
        raise IllegalNameError(
            f"workflow name {name!r} is {len(name)} characters long",
            remedy=f"Use at most {MAXIMUM_WORKFLOW_NAME_LENGTH}",
        )
    return name
