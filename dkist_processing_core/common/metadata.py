"""
What every record of a task says about it.

Runs in: task environment.
"""

from typing import NamedTuple

__all__ = ["TaskMetadata"]


class TaskMetadata(NamedTuple):
    """Which task of which workflow runs, and for which recipe run."""

    recipe_run_id: int
    workflow_name: str
    workflow_version: str
    task_name: str  # of its class

    @property
    def transaction_name(self) -> str:
        """Name of the transaction, or root span, of the task."""
        return f"{self.workflow_name}.{self.task_name}"
