"""
Why an exported file is refused.

Runs in: scheduler, DAG processor and worker, once there is a reason.
"""

from collections.abc import Iterable
from typing import NoReturn

from dkist_processing_core.exceptions import UnsupportedDagFileError

__all__ = ["refuse_task", "refuse_workflow"]


def refuse_workflow(name: str, exported_by: str, protocols: tuple[object, int], unknown: Iterable[str]) -> NoReturn:
    """Raise an `UnsupportedDagFileError` about the protocol of the file, or about unknown keys."""
    stated, known = protocols
    if stated != known:
        raise UnsupportedDagFileError(f"The file has protocol {stated!r}; this release supports {known}", exported_by)
    raise _unknown_keys(f"The workflow {name!r}", unknown, exported_by)


def refuse_task(task_id: str, workflow: tuple[str, str] | None, unknown: Iterable[str]) -> NoReturn:
    """
    Raise an `UnsupportedDagFileError` about a task without a workflow, or about unknown keys.

    ``workflow`` is its name, and the release that exported the file.
    """
    if workflow is None:
        raise UnsupportedDagFileError(f"The task {task_id!r} was made outside of `with workflow_dag(...)`")
    name, exported_by = workflow
    raise _unknown_keys(f"The task {task_id!r} of {name!r}", unknown, exported_by)


def _unknown_keys(subject: str, keys: Iterable[str], exported_by: str) -> UnsupportedDagFileError:
    shown = ", ".join(map(repr, sorted(keys)))
    return UnsupportedDagFileError(f"{subject} has {shown}, which this release does not support", exported_by)
