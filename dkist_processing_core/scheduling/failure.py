"""
The exception by which Airflow learns that a task has failed.

Runs in: worker, in the process of Airflow's operator.
"""

from airflow.exceptions import AirflowException

from dkist_processing_core.common.outcome import Outcome

__all__ = ["TaskFailedError"]


class TaskFailedError(AirflowException):
    """
    A task has failed; the text is its own error.

    Parameters
    ----------
    outcome
        How the task has ended.
    """

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        summary = outcome.summary or "The task ended without reporting an error; its log says how far it came"
        status = "" if outcome.exit_status is None else f" (exit status {outcome.exit_status})"
        super().__init__(f"{summary}{status}")
