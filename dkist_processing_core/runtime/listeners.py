"""
Listeners for the life-cycle events of a task.

Runs in: task environment. Only the configured listeners are imported, when the task begins.
"""

import logging
from contextlib import ExitStack
from functools import cached_property
from typing import Any

from dkist_processing_core import telemetry
from dkist_processing_core.common import test_mode
from dkist_processing_core.common.metadata import TaskMetadata
from dkist_processing_core.common.settings import isb_logging

__all__ = ["LISTENED", "Listeners"]

logger = logging.getLogger(__name__)

# Marks the records that `TaskBase` logs for a life-cycle event. The log on the interservice bus sends the event
# instead.
LISTENED = {"dkist_listened": True}


class Listeners:
    """
    The listeners of one task, combined: telemetry, and the log on the interservice bus.

    Telemetry begins on first use, since a task may create its metrics before it is entered. The log begins when the
    task is entered, since a task may be created and never run.
    """

    def __init__(self, metadata: TaskMetadata) -> None:
        self._metadata = metadata
        self._is_entered = False
        self._listeners: list[Any] = []

    @cached_property
    def telemetry(self) -> telemetry.Recording:
        """The record of the task on the telemetry back ends."""
        recording = telemetry.start(self._metadata)
        self._listeners.append(recording)
        return recording

    def entered(self) -> None:
        """Start every listener that has not started yet."""
        if not self._is_entered:
            self._is_entered = True
            self._start_log()
            self.telemetry  # noqa: B018 - starts on first use

    def _start_log(self) -> None:
        if not isb_logging() or test_mode.active() is not None:
            return
        try:
            from dkist_processing_core.isb.logs.task_log import TaskLog

            # First, so that it is closed last and forwards what the others log while they are closed.
            self._listeners.insert(0, TaskLog(self._metadata))
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            logger.warning("DKIST_ISB_LOGGING is set, but the log cannot be sent to the interservice bus: %s", reason)

    def started(self) -> None:
        """Notify the listeners that the first phase is about to begin."""
        self.entered()
        for each in self._listeners:
            each.started()

    def phase(self, name: str) -> ExitStack:
        """Return a context manager for a phase of the task."""
        stack = ExitStack()
        for each in self._listeners:
            stack.enter_context(each.phase(name))
        return stack

    def close(self, error: BaseException | None) -> None:
        """Notify the listeners of the exception that ended the task; None if it succeeded."""
        for each in reversed(self._listeners):
            each.close(error)
