"""
The workflow that an exported file describes: what the file may say, and what happens when something in it fails.

Runs in: scheduler, DAG processor and worker, with the standard library alone. Every parse of every file pays for the
modules that the file imports, so there are few of them, and what only a failure needs is imported by the failure.

A protocol is a promise: a file that states protocol 1 says what protocol 1 knows, and loads and runs under every later
release of this library. A new key, or a new meaning of one, is a new protocol.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn

__all__ = [
    "PROTOCOL",
    "FileWorkflow",
    "check_protocol",
    "current_workflow",
    "in_workflow",
    "reject_unknown",
    "run_failed",
    "task_failed",
]

PROTOCOL = 1


class FileWorkflow:
    """
    The workflow that an exported file describes.

    It is no dataclass, since making one would take a fifth of the time that Airflow needs for a whole file.

    Parameters
    ----------
    name, version
        Name and version of the workflow.
    distribution
        Name of the distribution that the task environments install.
    exported_by
        The release of this library that wrote the file.
    """

    __slots__ = ("distribution", "exported_by", "name", "version")

    def __init__(self, *, name: str, version: str, distribution: str, exported_by: str) -> None:
        self.name = name
        self.version = version
        self.distribution = distribution
        self.exported_by = exported_by

    def requirement(self, extras: Iterable[str]) -> str:
        """Return the requirement (:pep:`508`) that the environment of a task is built from."""
        return f"{self.distribution}[{','.join(extras)}]=={self.version}"


_current: ContextVar[FileWorkflow] = ContextVar("dkist_workflow_of_dag_file")


@contextmanager
def in_workflow(workflow: FileWorkflow) -> Iterator[None]:
    """Let the operators that are made meanwhile belong to a workflow."""
    token = _current.set(workflow)
    try:
        yield
    finally:
        _current.reset(token)


def current_workflow() -> FileWorkflow:
    """
    Return the workflow whose tasks are being made.

    Raises
    ------
    UnsupportedDagFileError
        If there is none, as outside of ``with workflow_dag(...)``.
    """
    try:
        return _current.get()
    except LookupError:
        _refuse("A task operator was made outside of `with workflow_dag(...)`")


def check_protocol(protocol: object, exported_by: str) -> None:
    """
    Do nothing if this release knows the protocol of a file.

    Raises
    ------
    UnsupportedDagFileError
        If it does not.
    """
    if protocol != PROTOCOL:
        _refuse(f"The file states protocol {protocol!r}; this release knows {PROTOCOL}", exported_by)


def reject_unknown(subject: str, keys: Iterable[str], workflow: FileWorkflow) -> None:
    """
    Do nothing if there is no key that this release does not know.

    Raises
    ------
    UnsupportedDagFileError
        If there is one.
    """
    if unknown := sorted(keys):
        shown = ", ".join(map(repr, unknown))
        _refuse(f"{subject} has {shown}, which this release does not know", workflow.exported_by)


def _refuse(what: str, exported_by: str = "") -> NoReturn:
    from dkist_processing_core.exceptions import UnsupportedDagFileError

    raise UnsupportedDagFileError(what, exported_by) from None


def task_failed(workflow_name: str, workflow_version: str, task_name: str, context: Mapping[str, Any]) -> None:
    """Report the failure of a task; partially applied, the ``on_failure_callback`` of the task."""
    from dkist_processing_core.failure_callback import chat_ops_notification

    chat_ops_notification(context, workflow_name, workflow_version, task_name)


def run_failed(workflow_name: str, workflow_version: str, context: Mapping[str, Any]) -> None:
    """Report what the tasks of a run could not; partially applied, the ``on_failure_callback`` of the DAG."""
    from dkist_processing_core.failure_callback import dag_run_failure_notification

    dag_run_failure_notification(context, workflow_name, workflow_version)
