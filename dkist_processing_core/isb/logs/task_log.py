"""
Send the log of a task to the interservice bus while the task runs.

Runs in: task environment, in the process of the task, if ``DKIST_ISB_LOGGING`` says so.
"""

import atexit
import logging
import os
import time
import traceback
from contextlib import AbstractContextManager

from dkist_processing_core.common.metadata import TaskMetadata
from dkist_processing_core.isb.logs.intake import LogIntake
from dkist_processing_core.isb.logs.pump import Pump

__all__ = ["TaskLog"]

logger = logging.getLogger(__name__)

# What the end of a task may take: to hand over the last records, and to hear what became of them. Both are a matter of
# milliseconds unless the machine is at its limits.
MOST_SECONDS = 3.0
SHARE_OF_RUN = 0.02
LEAST_HAND_OVER_SECONDS = 0.5
# More than these cannot be sent for certain once the task has ended.
MANY_RECORDS = 10_000


class TaskLog:
    """
    The log of one task on its way to the interservice bus, from when this is made until it is closed.

    Parameters
    ----------
    facts
        What is known of the task.
    """

    def __init__(self, facts: TaskMetadata) -> None:
        self._pid = os.getpid()
        self._began = time.monotonic()
        self._is_told_of = False
        self._intake = LogIntake()
        try_number = os.environ.get("AIRFLOW_CTX_TRY_NUMBER", "")
        self._pump = Pump(
            self._intake,
            {
                "recipeRunId": facts.recipe_run_id,
                "workflowName": facts.workflow_name,
                "workflowVersion": facts.workflow_version,
                "taskName": facts.task_name,
                "dagRunId": os.environ.get("AIRFLOW_CTX_DAG_RUN_ID") or None,
                "tryNumber": int(try_number) if try_number.isdecimal() else None,
                "host": os.uname().nodename,
                "processId": self._pid,
            },
        )
        self._task_name = facts.task_name
        self._pump.start()
        self._intake.listen()
        _open_logs.add(self)
        # For a task whose own __enter__ fails; no __exit__ follows then.
        atexit.register(self._close)

    def started(self) -> None:
        """Tell that the task has started."""
        self._is_told_of = True
        self._intake.tell("started", f"Task {self._task_name} started")

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Tell when a phase of the task begins and ends; to be used in a ``with`` statement around it."""
        return self._intake.phase(name)

    def close(self, error: BaseException | None) -> None:
        """
        Tell how the task has ended, and hand over what is left.

        Parameters
        ----------
        error
            What the task has raised.
        """
        try:
            self._tell_end(error)
            self._close()
        except Exception as fault:
            logger.warning("The log on the interservice bus could not be closed: %s: %s", type(fault).__name__, fault)

    def _tell_end(self, error: BaseException | None) -> None:
        seconds = time.monotonic() - self._began
        # sys.exit() and sys.exit(0) are how a task leaves when all is well.
        if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
            if self._is_told_of:
                text = f"Task {self._task_name} succeeded after {seconds:.3f} s"
                self._intake.tell("succeeded", text, seconds=seconds)
            return
        what = traceback.format_exception_only(error)[-1].rstrip()
        text = f"Task {self._task_name} failed after {seconds:.3f} s: {what}"
        self._intake.tell("failed", text, seconds=seconds, error=error)

    def _close(self) -> None:
        self._intake.stop()
        _open_logs.discard(self)
        if os.getpid() != self._pid:
            return
        share = min(MOST_SECONDS, SHARE_OF_RUN * (time.monotonic() - self._began))
        self._pump.finish()
        self._pump.handed_over.wait(max(LEAST_HAND_OVER_SECONDS, share))
        self._pump.has_last_status.wait(share)
        trouble = self._trouble()
        if trouble:
            logger.warning("%s", trouble)
        # Last, so that what a signal interrupts is done when the process ends.
        atexit.unregister(self._close)

    def _trouble(self) -> str | None:
        """Return what to tell about records that have not reached the bus, if there is something wrong."""
        status = self._pump.status
        total = self._intake.total
        missing = max(0, total - status.confirmed)
        reason = self._pump.fault or status.reason
        if not self._pump.handed_over.is_set():
            reason = reason or "the process that sends them does not take them"
        if not missing or not (reason or status.dropped or status.waiting > MANY_RECORDS):
            return None
        dropped = f", {status.dropped} of them were dropped" if status.dropped else ""
        return (
            f"{missing} of {total} log records have not reached the interservice bus until now{dropped}: "
            f"{reason or 'more of them than can be sent in the time'}"
        )

    def forget(self) -> None:
        """Do nothing any more: this is a copy in a forked process, and not the task."""
        self._intake.tell_nothing()
        self._intake.stop()
        self._pump.forget()


_open_logs: set[TaskLog] = set()


def _forget_in_a_forked_process() -> None:
    for each in list(_open_logs):
        each.forget()
    _open_logs.clear()


os.register_at_fork(after_in_child=_forget_in_a_forked_process)
