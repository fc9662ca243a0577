"""
Write the output of a task into Airflow's log.

Runs in: worker, in the process of Airflow's operator.
"""

import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from dkist_processing_core.common.log_lines import MARK_VARIABLE, OUTCOME, Line, Reader
from dkist_processing_core.common.outcome import Outcome

try:  # Airflow 3, or Airflow 2 with the standard provider
    from airflow.providers.standard.hooks.subprocess import SubprocessHook
except ImportError:  # Airflow 2 without it
    from airflow.hooks.subprocess import SubprocessHook

__all__ = ["TaskOutputHook"]

# Airflow's pages can filter by these.
LEVELS = (logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)


# Below the logger whose records Airflow 2 writes to the log of a task.
LOGGER = "airflow.task.dkist_processing_core"


def task_logger() -> Callable[[int, str], object]:
    """
    Return a function that writes a text to the log of the task at a level, whatever Airflow's own level is.

    DKIST_LOG_LEVEL has already determined which records of the task are shown. The `logging` handler of Airflow 3 drops
    records below its own level, so in Airflow 3 the log is written with structlog, as Airflow does.
    """
    try:
        import airflow.sdk  # noqa: F401 - Airflow 3
        import structlog
    except ImportError:  # Airflow 2
        logger = logging.getLogger(LOGGER)
        logger.setLevel(logging.DEBUG)
        return lambda level, text: logger.log(level, "%s", text)
    shows_all = structlog.make_filtering_bound_logger(logging.DEBUG)
    log: Callable[[int, str], object] = structlog.wrap_logger(
        None, wrapper_class=shows_all, logger_factory_args=(LOGGER,)
    ).log
    return log


class TaskOutputHook(SubprocessHook):
    """
    Start a command and log each line of its output at the level that its mark states.

    Attributes
    ----------
    outcome
        The outcome of the task, once the worker program has reported it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outcome: Outcome | None = None
        self._mark = secrets.token_hex(8)
        self._reader = Reader(self._mark)
        self._output = _Output(self, super().log)
        self._log_at = task_logger()

    @property
    def log(self) -> Any:
        """The logger of Airflow's hook, which calls ``info("%s", line)`` for each line of output."""
        return self._output

    @property
    def variables(self) -> dict[str, str]:
        """The variables that tell the command how to mark lines."""
        return {MARK_VARIABLE: self._mark}

    def failure(self, exit_status: int) -> Outcome:
        """Return the outcome of the failed task, as far as it is known."""
        if self.outcome and not self.outcome.is_success:
            return self.outcome
        return Outcome(state="failed", exit_status=exit_status)

    def log_line(self, line: str) -> None:
        """Log one line of output."""
        self._log_lines(self._reader.read(line))

    def log_rest(self) -> None:
        """Log the incomplete records at the end of the output."""
        self._log_lines(self._reader.rest())

    def _log_lines(self, lines: list[Line]) -> None:
        for kind, text in lines:
            if kind == OUTCOME:
                with suppress(ValueError):  # a truncated line; the exit status still counts
                    self.outcome = Outcome.from_json(text)
            else:
                level = int(kind or logging.INFO)
                self._log_at(next((each for each in LEVELS if each <= level), logging.DEBUG), text)


class _Output:
    """The logger of Airflow's hook, which treats lines of output separately."""

    def __init__(self, hook: TaskOutputHook, logger: Any) -> None:
        self._hook = hook
        self._logger = logger

    def info(self, message: str, *arguments: Any) -> None:
        """Log a line of output, or a message of the hook itself."""
        if message == "%s" and len(arguments) == 1:
            self._hook.log_line(arguments[0])
        else:
            self._logger.info(message, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logger, name)
