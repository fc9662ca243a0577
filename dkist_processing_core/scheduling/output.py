"""
The output of a task on its way into Airflow's log.

Runs in: worker, in the process of Airflow's operator.
"""

import logging
import secrets
from typing import Any

from dkist_processing_core.common.log_lines import MARK_VARIABLE, OUTCOME, parse
from dkist_processing_core.common.outcome import Outcome

try:  # Airflow 3, or Airflow 2 with the standard provider
    from airflow.providers.standard.hooks.subprocess import SubprocessHook
except ImportError:
    from airflow.hooks.subprocess import SubprocessHook

__all__ = ["TaskOutputHook"]

# Below the logger whose records Airflow writes to the log of the task. It has a level of its own, since DKIST_LOG_LEVEL
# decides which records of the task are shown.
logger = logging.getLogger("airflow.task.dkist_processing_core")
# Airflow's pages filter by these.
LEVELS = (logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)


class TaskOutputHook(SubprocessHook):
    """
    Start a command and log each line of its output at the level that the line states.

    Attributes
    ----------
    outcome
        How the task has ended, once the worker program has said so.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outcome: Outcome | None = None
        self._mark = secrets.token_hex(8)
        self._output = _Output(self)
        logger.setLevel(logging.DEBUG)

    @property
    def log(self) -> Any:
        """What Airflow's hook writes to: ``info("%s", line)`` for each line of output."""
        return self._output

    @property
    def variables(self) -> dict[str, str]:
        """The variables by which the command learns how to state levels."""
        return {MARK_VARIABLE: self._mark}

    def failure(self, exit_status: int) -> Outcome:
        """Return how the task has failed, as far as it is known."""
        return self.outcome or Outcome(state="failed", exit_status=exit_status)

    def log_line(self, line: str) -> None:
        """Log one line of output."""
        kind, text = parse(line, mark=self._mark)
        if kind == OUTCOME:
            self.outcome = Outcome.from_json(text)
            return
        level = int(kind or logging.INFO)
        logger.log(next((each for each in LEVELS if each <= level), logging.DEBUG), "%s", text)


class _Output:
    """A logger to Airflow's hook."""

    def __init__(self, hook: TaskOutputHook) -> None:
        self._hook = hook

    def info(self, message: str, *arguments: Any) -> None:
        """Log a line of output, or what the hook says itself."""
        if message == "%s" and len(arguments) == 1:
            self._hook.log_line(arguments[0])
        else:
            logger.info(message, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(logger, name)
