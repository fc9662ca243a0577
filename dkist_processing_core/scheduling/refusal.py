"""
Why an exported file is refused.

Runs in: scheduler, DAG processor and worker, once there is a reason.
"""

from collections.abc import Iterable
from typing import NoReturn

from dkist_processing_core.exceptions import UnsupportedDagFileError
from dkist_processing_core.scheduling import PROTOCOL, workflow_dag

__all__ = ["refuse_task", "refuse_workflow"]


def refuse_workflow(name: str, exported_by: str, protocol: object, unknown: Iterable[str]) -> NoReturn:
    """Raise an `UnsupportedDagFileError` about the protocol of a file, or else about keys of its workflow."""
    if protocol != PROTOCOL:
        raise UnsupportedDagFileError(
            f"The file states protocol {protocol!r}; this release knows {PROTOCOL}", exported_by
        )
    raise _unknown_keys(f"The workflow {name!r}", unknown, exported_by)


def refuse_task(task_id: str, workflow: workflow_dag | None, unknown: Iterable[str]) -> NoReturn:
    """Raise an `UnsupportedDagFileError` about a task without a workflow, or else about keys of the task."""
    if workflow is None:
        raise UnsupportedDagFileError(f"The task {task_id!r} was made outside of `with workflow_dag(...)`")
    raise _unknown_keys(f"The task {task_id!r} of {workflow.name!r}", unknown, workflow.exported_by)


def _unknown_keys(subject: str, keys: Iterable[str], exported_by: str) -> UnsupportedDagFileError:
    shown = ", ".join(map(repr, sorted(keys)))
    return UnsupportedDagFileError(f"{subject} has {shown}, which this release does not know", exported_by)
