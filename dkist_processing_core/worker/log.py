"""
What the worker program writes into the log of the task.

Runs in: worker. With ``DKIST_LOG_MARK`` each line keeps its level on the way to Airflow's log, see `common.log_lines`.
Without it, as at a terminal, a line carries the time, and warnings and errors go to standard error.
"""

import os
import select
import time
from contextlib import suppress

from dkist_processing_core.common.log_lines import OUTCOME, mark, write_marked

__all__ = ["error", "info", "outcome", "output", "warning"]

# The numbers of `logging`, whose import would cost more than all of this module.
INFO, WARNING, ERROR = 20, 30, 40
STANDARD_OUTPUT, STANDARD_ERROR = 1, 2
# Nobody reads the pipe any more once Airflow ends a task, and a full pipe must not keep the task from being ended.
WRITE_MILLISECONDS = 2000
PIPE_BUFFER = 4096  # bytes that a pipe takes without blocking if it is ready at all (POSIX: PIPE_BUF)


def info(text: str) -> None:
    """Log what happens."""
    _log(INFO, "", text, STANDARD_OUTPUT)


def warning(text: str) -> None:
    """Log what is doubtful and does not keep the task from running."""
    _log(WARNING, "WARNING: ", text, STANDARD_ERROR)


def error(text: str) -> None:
    """Log what makes the task fail."""
    _log(ERROR, "ERROR: ", text, STANDARD_ERROR)


def outcome(text: str) -> None:
    """Write the outcome of a failed task, as JSON, for Airflow's operator; without a mark it is not written."""
    if (used := mark()) is not None:
        _write(STANDARD_OUTPUT, write_marked(OUTCOME, text, mark=used).encode())


def output(line: bytes) -> None:
    """Pass on a line of a program that was started, such as an installer."""
    _write(STANDARD_OUTPUT, line)


def _log(level: int, label: str, text: str, descriptor: int) -> None:
    if (used := mark()) is not None:
        line = write_marked(level, f"dkist: {text}", mark=used)
        descriptor = STANDARD_OUTPUT
    else:
        now = time.strftime("%Y-%m-%d %H:%M:%S%z")
        line = f"{now[:-2]}:{now[-2:]} dkist: {label}{text}\n"
    _write(descriptor, line.encode(errors="backslashreplace"))


def _write(descriptor: int, data: bytes) -> None:
    """Write to a pipe that may be closed, or full, at its other end."""
    target = select.poll()
    target.register(descriptor, select.POLLOUT)
    with suppress(OSError):
        while data and target.poll(WRITE_MILLISECONDS):
            data = data[os.write(descriptor, data[:PIPE_BUFFER]) :]
