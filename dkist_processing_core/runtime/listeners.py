"""
Whom the life of a task is told, apart from those who read its log.

Runs in: task environment. `start` picks what is configured when a task starts and imports nothing else; `TaskBase`
talks to what it returns.
"""

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from dkist_processing_core.common.metadata import TaskMetadata
from dkist_processing_core.common.settings import isb_logging

__all__ = ["TOLD", "LifeCycle", "start"]

logger = logging.getLogger(__name__)

# Marks the records that TaskBase writes for people, as the same is told here.
TOLD = {"dkist_told": True}


class LifeCycle(Protocol):
    """What hears how a task begins, gets on and ends."""

    def started(self) -> None:
        """Hear that the task has started."""

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Hear when a phase of the task begins and ends; to be used in a ``with`` statement around it."""

    def close(self, error: BaseException | None) -> None:
        """Hear how the task has ended, and listen no more."""


class Untold:
    """The life of a task of which nobody wants to hear."""

    def started(self) -> None:
        """Do nothing."""

    def phase(self, name: str) -> AbstractContextManager[None]:  # noqa: ARG002 - there is none
        """Do nothing."""
        return nullcontext()

    def close(self, error: BaseException | None) -> None:
        """Do nothing."""


def start(facts: TaskMetadata) -> LifeCycle:
    """
    Begin to send the log of a task to the interservice bus, if that is switched on.

    If it cannot be begun, that costs the task nothing but a warning in its log.

    Parameters
    ----------
    facts
        What is known of the task.
    """
    if isb_logging():
        try:
            from dkist_processing_core.isb.logs.task_log import TaskLog

            return TaskLog(facts)
        except Exception as error:
            logger.warning(
                "The log is not sent to the interservice bus although DKIST_ISB_LOGGING is set: %s: %s",
                type(error).__name__,
                error,
            )
    return Untold()
