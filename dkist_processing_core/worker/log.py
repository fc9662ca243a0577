"""
The messages of the worker program in the log of the task.

Runs in: worker. With ``DKIST_LOG_MARK`` each line keeps its level on the way to Airflow's log, see `common.log_lines`.
Without it, as on a terminal, a line carries the time, and warnings and errors go to standard error.
"""

import time

from dkist_processing_core.common.log_lines import OUTCOME, mark, marked_lines, write_all

__all__ = ["error", "info", "outcome", "output", "warning"]

# The numbers of `logging`, whose import would take longer than that of this whole module.
INFO, WARNING, ERROR = 20, 30, 40
STANDARD_OUTPUT, STANDARD_ERROR = 1, 2
# Airflow stops reading the pipe when it ends a task, and a full pipe must not prevent the end of the task.
WRITE_MILLISECONDS = 2000
OUTCOME_MILLISECONDS = 60_000  # nothing remains to be ended then, and a task without an outcome counts as failed


def info(text: str) -> None:
    """Log an event."""
    _log(INFO, "", text, STANDARD_OUTPUT)


def warning(text: str) -> None:
    """Log a problem that does not prevent the task from running."""
    _log(WARNING, "WARNING: ", text, STANDARD_ERROR)


def error(text: str) -> None:
    """Log the error that fails the task."""
    _log(ERROR, "ERROR: ", text, STANDARD_ERROR)


def outcome(text: str) -> None:
    """Write the outcome of the task (JSON) for Airflow's operator. Without a mark, it is not written."""
    if (used := mark()) is not None:
        _write(STANDARD_OUTPUT, marked_lines(OUTCOME, text, mark=used), OUTCOME_MILLISECONDS)


def output(line: bytes) -> None:
    """Pass on a line of output of another program, such as an installer."""
    write_all(STANDARD_OUTPUT, line, milliseconds=WRITE_MILLISECONDS)


def _log(level: int, label: str, text: str, descriptor: int) -> None:
    if (used := mark()) is not None:
        lines = marked_lines(level, f"dkist: {text}", mark=used)
        descriptor = STANDARD_OUTPUT
    else:
        now = time.strftime("%Y-%m-%d %H:%M:%S%z")
        lines = [f"{now[:-2]}:{now[-2:]} dkist: {label}{text}\n"]
    _write(descriptor, lines)


def _write(descriptor: int, lines: list[str], milliseconds: int = WRITE_MILLISECONDS) -> None:
    for line in lines:
        write_all(descriptor, line.encode(errors="backslashreplace"), milliseconds=milliseconds)
