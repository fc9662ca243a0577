"""
Constraints files, as a workflow takes them in.

Runs in: author and CI. The contents become part of the exported DAG, so they are reduced to what they say: one
requirement (:pep:`508`) a line, sorted. Options such as an address of a package index, which may hold a password, are
refused, as is whatever is no requirement.
"""

from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from dkist_processing_core.exceptions import WorkflowError

__all__ = ["read_constraints"]

# Linux allows 128 KiB for one environment variable, which is how the text reaches the worker.
MAXIMUM_LENGTH = 100_000


def read_constraints(path: str | Path | None, *, workflow: str, task: str | None = None) -> str:
    """
    Return what a constraints or lock file in the format of ``requirements.txt`` says.

    Parameters
    ----------
    path
        The file; None for no constraints.
    workflow, task
        What it is for, for the errors.

    Returns
    -------
    str
        One requirement a line, sorted, without comments and hashes.

    Raises
    ------
    WorkflowError
        If the file cannot be read, or a line of it is no requirement with a name and a version. It is also a
        `ValueError`.
    """
    if path is None:
        return ""
    try:
        lines = Path(path).read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise WorkflowError(
            f"the constraints {str(path)!r} cannot be read: {error}",
            remedy="Name a file in the format of requirements.txt, such as Path(__file__).parent / 'constraints.txt'",
            workflow=workflow,
            task=task,
        ) from error
    requirements = set()
    for number, line in enumerate(lines, start=1):
        text = line.partition(" #")[0].partition(" --hash")[0].strip()
        if not text or text.startswith("#"):
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            requirement = None
        if requirement is None or requirement.url or not requirement.specifier:
            raise WorkflowError(
                f"line {number} of the constraints {str(path)!r} is no requirement with a version: {text!r}",
                remedy="Write name==version; settings of the package index belong to the worker",
                workflow=workflow,
                task=task,
            )
        requirements.add(str(requirement))
    text = "\n".join(sorted(requirements, key=str.lower))
    if len(text) > MAXIMUM_LENGTH:
        raise WorkflowError(
            f"the constraints {str(path)!r} are {len(text)} characters long",
            remedy=f"Use at most {MAXIMUM_LENGTH}",
            workflow=workflow,
            task=task,
        )
    return text
