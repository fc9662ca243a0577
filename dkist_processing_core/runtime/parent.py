"""
Report the error and the outcome of a task to the parent process.

Runs in: task environment. All that is needed for this is saved before the task runs, since a task may change its
environment, its streams and its descriptors.
"""

import ctypes
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from dkist_processing_core.common.log_lines import mark, marked_lines, write_all
from dkist_processing_core.common.outcome import OUTCOME_VARIABLE, Outcome
from dkist_processing_core.runtime.logging import format_line

__all__ = ["Parent"]

PR_SET_PDEATHSIG = 1  # prctl(2)
WRITE_MILLISECONDS = 30_000  # Airflow may read slowly, and nothing else remains to be done
STANDARD_ERROR = 2
FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


class Parent:
    """The worker program, Airflow's operator ``python_virtualenv``, or a shell."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._mark = mark()
        self._stderr = _Target(f"/dev/fd/{STANDARD_ERROR}")
        # Removed, so that another task that this one starts does not write there.
        path = os.environ.pop(OUTCOME_VARIABLE, None)
        self._outcome = _Target(path) if path else None

    def end_with_it(self) -> None:
        """Arrange for SIGTERM when the supervising process is killed; a shell does not supervise."""
        if self._outcome and sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    def show_error(self, logger: logging.Logger, text: str) -> None:
        """Write an error to the standard error stream that this process was started with."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(BaseException):  # the task may have replaced it
                stream.flush()
        record = logging.LogRecord(logger.name, logging.ERROR, "", 0, text, None, None)
        lines = marked_lines(logging.ERROR, text, mark=self._mark) if self._mark else [f"{format_line(record)}\n"]
        for line in lines:
            self._stderr.write(line)

    def send(self, outcome: Outcome) -> None:
        """Write the outcome of the task to the file that ``DKIST_OUTCOME`` named."""
        # A process that the task forked may also get here, but must not report an outcome.
        if self._outcome and os.getpid() == self._pid:
            self._outcome.write(outcome.to_json())


class _Target:
    """
    A file that can be written after the task, whatever the task has done to the descriptors of its process.

    The task may have closed all of them, opened files that now have their numbers, or reached the limit of open files.
    So the file is kept open. If that was in vain, it is opened again through the descriptor of the parent.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._inherited = f"/proc/{os.getppid()}{path.removeprefix('/dev')}" if path.startswith("/dev/fd/") else path
        self._descriptor: int | None = None
        with suppress(OSError):
            number = path.removeprefix("/dev/fd/")
            self._descriptor = os.dup(int(number)) if number.isdecimal() else os.open(path, FLAGS, 0o600)
        self._identity = _identity(path)

    def write(self, text: str) -> None:
        data = text.encode(errors="backslashreplace")
        if self._descriptor is not None and _identity(self._descriptor) == self._identity:
            write_all(self._descriptor, data, milliseconds=WRITE_MILLISECONDS)
        elif _identity(self._inherited) == self._identity:
            try:
                with Path(self._inherited).open("ab", buffering=0) as file:
                    write_all(file.fileno(), data, milliseconds=WRITE_MILLISECONDS)
            except OSError as error:
                logging.getLogger(__name__).warning("Could not write to %s: %s", self._path, error)


def _identity(file: int | str) -> tuple[int, int] | None:
    """Return device and inode of a file; None if it does not exist."""
    try:
        status = os.stat(file)  # noqa: PTH116 - a descriptor, or a path
    except OSError:
        return None
    return status.st_dev, status.st_ino
