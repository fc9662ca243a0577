"""
Read the constraints files and lock files of workflows.

Runs in: author and CI. The contents become part of the exported DAG. So they are reduced to sorted requirements
(:pep:`508`), one per line, with hashes if they are from a lock file. Any other line is an error, also an option such as
the URL of a package index, which may contain a password.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from dkist_processing_core.common.lock_file import is_lock_file, locked_requirements
from dkist_processing_core.exceptions import WorkflowError

__all__ = ["read_constraints"]

# Linux allows 128 KiB for one environment variable, which is how the text reaches the worker.
MAXIMUM_LENGTH = 100_000


def read_constraints(path: str | Path | None, *, workflow: str, task: str | None = None) -> str:
    """
    Read a constraints file in the format of ``requirements.txt``, or a ``pylock.toml``; None stands for no constraints.

    The result has one requirement a line, sorted, without comments, and with hashes only if it is from a lock file. A
    file that cannot be read, and a line that is not a requirement with a name and a version, raise a `WorkflowError`
    that names this workflow and task.
    """
    if path is None:
        return ""

    def error(what: str, remedy: str) -> WorkflowError:
        return WorkflowError(f"the constraints file {str(path)!r} {what}", remedy=remedy, workflow=workflow, task=task)

    try:
        content = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as reason:
        remedy = "Name a file in the format of requirements.txt, such as Path(__file__).parent / 'constraints.txt'"
        raise error(f"cannot be read: {reason}", remedy) from reason
    if is_lock_file(path):
        try:
            requirements = set(locked_requirements(content))
        except ValueError as reason:
            raise error(
                f"is not a usable lock file ({reason})",
                "Write it with uv pip compile, pip lock, or environments lock",
            ) from reason
    else:
        requirements = set(_constraints(content, error))
    text = "\n".join(sorted(requirements, key=str.lower))
    if len(text) > MAXIMUM_LENGTH:
        raise error(f"is {len(text)} characters long", f"Use at most {MAXIMUM_LENGTH}")
    return text


def _constraints(content: str, error: Callable[[str, str], WorkflowError]) -> Iterator[str]:
    for number, line in enumerate(content.replace("\\\n", " ").splitlines(), start=1):
        text = line.partition(" #")[0].partition(" --hash")[0].strip()
        if not text or text.startswith("#"):
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            requirement = None
        if requirement is None or requirement.url or not requirement.specifier:
            raise error(
                f"does not pin a version in line {number}: {text!r}",
                "Write name==version; settings of the package index belong to the worker",
            )
        yield str(requirement)
