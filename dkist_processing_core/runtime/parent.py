"""
The process that started this one, and what it learns of the task.

Runs in: task environment. Everything that is needed is captured before the task runs, since a task may do anything to
its environment, its streams and its descriptors.
"""

import ctypes
import logging
import os
import signal
import sys
from pathlib import Path

from dkist_processing_core.common.log_lines import mark, write_marked
from dkist_processing_core.common.outcome import OUTCOME_VARIABLE, Outcome
from dkist_processing_core.runtime.logging import format_line

__all__ = ["Parent"]

PR_SET_PDEATHSIG = 1  # prctl(2)


class Parent:
    """The worker program, Airflow's operator ``python_virtualenv``, or a shell."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._mark = mark()
        self._stderr = os.dup(2)
        self._stderr_identity = _identity(self._stderr)
        # Removed, so that no other task that this one starts writes there.
        self._outcome = os.environ.pop(OUTCOME_VARIABLE, None)
        self._outcome_identity = _identity(self._outcome) if self._outcome else None

    def end_with_it(self) -> None:
        """Let this process get SIGTERM when the one that supervises it is killed; a shell does not supervise it."""
        if self._outcome and sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    def show_error(self, logger: logging.Logger, text: str) -> None:
        """Write an error to the standard error stream that this process was started with."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:  # noqa: S112 - whatever the task has put there
                continue
        record = logging.LogRecord(logger.name, logging.ERROR, "", 0, text, None, None)
        line = write_marked(logging.ERROR, text, mark=self._mark) if self._mark else f"{format_line(record)}\n"
        # The task may have closed the descriptor, and opened a file that has its number now.
        if _identity(self._stderr) == self._stderr_identity:
            try:
                with open(self._stderr, "wb", buffering=0, closefd=False) as file:
                    file.write(line.encode(errors="backslashreplace"))
            except OSError:
                logger.debug("The error of the task cannot be shown", exc_info=True)

    def send(self, outcome: Outcome) -> None:
        """Write the outcome of the task to the place that ``DKIST_OUTCOME`` named."""
        # A process that the task forked and that came here as well does not speak for the task.
        if not self._outcome or os.getpid() != self._pid or _identity(self._outcome) != self._outcome_identity:
            return
        try:
            Path(self._outcome).write_text(outcome.to_json(), encoding="utf-8")
        except OSError as error:
            logging.getLogger(__name__).warning("Could not write the outcome to %s: %s", self._outcome, error)


def _identity(file: int | str) -> tuple[int, int] | None:
    """Return device and inode of a file, None if it does not exist."""
    try:
        status = os.stat(file)  # noqa: PTH116 - a descriptor, or a path
    except OSError:
        return None
    return status.st_dev, status.st_ino
