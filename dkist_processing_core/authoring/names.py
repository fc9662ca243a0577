"""
The names of workflows, DAGs and tasks: which are legal, and how they are composed.

Runs in: author and CI. A DAG id must be usable as a file name, as an Airflow DAG id, and in a shell or a URL without
quoting; Airflow itself allows the same characters in a DAG id, and 250 of them.
"""

import string
from collections.abc import Mapping

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from dkist_processing_core.exceptions import IllegalNameError, NamingSchemeError, WorkflowError

__all__ = [
    "as_version",
    "check_name",
    "check_naming_scheme",
    "check_requires_python",
    "check_workflow_name_length",
    "dag_name",
    "workflow_name_from_details",
]

LEGAL_CHARACTERS = string.ascii_letters + string.digits + "-._"
MAXIMUM_WORKFLOW_NAME_LENGTH = 100
MAXIMUM_ID_LENGTH = 250
SCHEMES = (
    "Name a workflow either by input_data, output_data, category (and detail, tags if wanted), "
    "or by process_category and process_name"
)


def check_name(kind: str, name: object) -> str:
    """Return a name if it can be (part of) an Airflow id, or raise an `IllegalNameError` for this kind of name."""
    if not isinstance(name, str) or not name:
        raise IllegalNameError(
            f"{kind} must be a string of at least one character, not {name!r}", remedy="Give it a name"
        )
    if illegal := sorted(set(name) - set(LEGAL_CHARACTERS)):
        raise IllegalNameError(
            f"{kind} {name!r} contains {', '.join(map(repr, illegal))}",
            remedy="Use only ASCII letters, digits, '-', '.' and '_'",
        )
    # A plain string: `str` and `repr` of a member of an enum may differ from its value.
    return _check_length(kind, str.__str__(name), MAXIMUM_ID_LENGTH)


def check_requires_python(specifier: object, *, workflow: str) -> str:
    """Return a version specifier (:pep:`440`) in normalized form, empty for None, or raise a `WorkflowError`."""
    try:
        return str(SpecifierSet("" if specifier is None else specifier))  # type: ignore[arg-type]
    except (AttributeError, InvalidSpecifier, TypeError):
        raise WorkflowError(
            f"requires_python is {specifier!r}, which is not a version specifier",
            remedy="Write it as in pyproject.toml, such as '>=3.12'",
            workflow=workflow,
        ) from None


def check_workflow_name_length(name: str) -> str:
    """Return the workflow name if it has at most 100 characters, which leaves room for the version in the dag id."""
    return _check_length("workflow name", name, MAXIMUM_WORKFLOW_NAME_LENGTH)


def _check_length(kind: str, name: str, maximum: int) -> str:
    if len(name) > maximum:
        raise IllegalNameError(f"{kind} {name!r} is {len(name)} characters long", remedy=f"Use at most {maximum}")
    return name


def workflow_name_from_details(input_data: str, output_data: str, category: str, detail: str | None = None) -> str:
    """
    Compose the name of a workflow from its input, its output and its purpose.

    Parameters
    ----------
    input_data, output_data
        Kind of data that the workflow reads and writes, such as ``l0`` and ``l1``.
    category
        Purpose of the workflow, such as the name of an instrument.
    detail
        What distinguishes it from a similar workflow.

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
    return check_workflow_name_length(f"{name}_{detail}" if detail else name)


def dag_name(workflow_name: str, workflow_version: str) -> str:
    """
    Compose the Airflow DAG id of one version of a workflow.

    Parameters
    ----------
    workflow_name, workflow_version
        Name and version of the workflow.

    Returns
    -------
    str
        ``{workflow_name}_{workflow_version}``.

    Raises
    ------
    ValueError
        If it has more than 250 characters, or others than ASCII letters, digits, ``-``, ``.`` and ``_``.
    """
    return check_name("DAG id", f"{workflow_name}_{workflow_version}")


def as_version(text: str) -> Version | None:
    """Return a text as a version (:pep:`440`); None if it is not one."""
    try:
        return Version(text)
    except InvalidVersion:
        return None


def check_naming_scheme(
    details: Mapping[str, object], process: Mapping[str, object], optional: Mapping[str, object]
) -> None:
    """Raise a `NamingSchemeError` unless the arguments belong to one naming scheme and are complete."""

    def given(arguments: Mapping[str, object]) -> list[str]:
        return [name for name, value in arguments.items() if value is not None]

    of_details = [*given(details), *given(optional)]
    if given(process) and of_details:
        raise NamingSchemeError(
            f"{', '.join(given(process))} and {', '.join(of_details)} belong to different naming schemes. {SCHEMES}."
        )
    scheme = process if given(process) else details
    missing = [name for name, value in scheme.items() if value is None]
    if missing:
        raise NamingSchemeError(f"a workflow without {', '.join(missing)} has no name. {SCHEMES}.")
