"""
The metadata of a task that every record about it contains.

Runs in: task environment.
"""

from typing import NamedTuple

__all__ = ["ENVIRONMENT_IDENTITY", "TaskMetadata"]

ENVIRONMENT_IDENTITY = "DKIST_ENVIRONMENT_IDENTITY"  # set by the worker program


class TaskMetadata(NamedTuple):
    """Which task of which workflow runs, for which recipe run, and in which environment."""

    recipe_run_id: int
    workflow_name: str
    workflow_version: str
    task_name: str  # of its class
    environment_identity: str | None = None  # None if the worker program does not run it, or does not know it

    @property
    def transaction_name(self) -> str:
        """Name of the transaction, or root span, of the task."""
        return f"{self.workflow_name}.{self.task_name}"
