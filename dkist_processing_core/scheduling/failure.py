"""
The exception that reports a failed task to Airflow.

Runs in: worker, in the process of Airflow's operator.
"""

from airflow.exceptions import AirflowException

from dkist_processing_core.common.outcome import Outcome

__all__ = ["TaskFailedError"]


class TaskFailedError(AirflowException):
    """
    A task has failed. The message is the error of the task.

    Parameters
    ----------
    outcome
        The outcome of the task.
    """

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        status = outcome.exit_status
        summary = outcome.summary or "The worker program ended before it could say what happened to the task"
        if not outcome.summary and status is not None and status < 0:
            summary = f"The worker program was killed by signal {-status}, and the task with it"
        super().__init__(summary if status is None else f"{summary} (exit status {status})")
