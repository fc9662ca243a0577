"""
Send the log of a task to the interservice bus while the task runs.

Runs in: task environment, if ``DKIST_ISB_LOGGING`` is set.
"""

import atexit
import logging
import os
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from dkist_processing_core.common.log_records import listen
from dkist_processing_core.common.metadata import TaskMetadata
from dkist_processing_core.isb.logs.buffer import Buffer
from dkist_processing_core.isb.logs.record import Event, event_row
from dkist_processing_core.isb.logs.sender import Sender

__all__ = ["TaskLog"]

logger = logging.getLogger(__name__)


class TaskLog:
    """Sends the log of one task to the interservice bus, from the creation of this object until it is closed."""

    def __init__(self, metadata: TaskMetadata) -> None:
        self._pid = os.getpid()
        self._began = time.monotonic()
        self._is_started = False
        self._task_name = metadata.task_name
        try_number = os.environ.get("AIRFLOW_CTX_TRY_NUMBER", "")
        self._buffer = Buffer()
        self._sender = Sender(
            self._buffer,
            {
                "recipeRunId": metadata.recipe_run_id,
                "workflowName": metadata.workflow_name,
                "workflowVersion": metadata.workflow_version,
                "taskName": metadata.task_name,
                "environmentIdentity": metadata.environment_identity,
                "dagRunId": os.environ.get("AIRFLOW_CTX_DAG_RUN_ID") or None,
                "tryNumber": int(try_number) if try_number.isdecimal() else None,
                "host": os.uname().nodename,
                "processId": self._pid,
            },
        )
        self._sender.start()
        _open_buffers.add(self._buffer)
        self._stop_listening = listen(self._buffer.add_record)
        # For a task whose own __enter__ fails, since __exit__ is not called then.
        atexit.register(self._close)

    def started(self) -> None:
        """Send the event that the task has started."""
        self._is_started = True
        self._add(f"Task {self._task_name} started", ("started", None, None))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Send the events that a phase of the task has started and ended. Use it in a ``with`` statement."""
        began = time.monotonic()
        self._add(f"{name} started", ("phase_started", name, None))
        try:
            yield
        finally:
            seconds = time.monotonic() - began
            self._add(f"{name} ended after {seconds:.3f} s", ("phase_ended", name, round(seconds, 6)))

    def close(self, error: BaseException | None) -> None:
        """Send the event that the task has ended, with its error if there is one, and all remaining records."""
        try:
            self._add_end(error)
            self._close()
        except Exception as fault:
            logger.warning("Could not close the log on the interservice bus: %s: %s", type(fault).__name__, fault)

    def _add_end(self, error: BaseException | None) -> None:
        seconds = time.monotonic() - self._began
        # sys.exit() and sys.exit(0) end a task successfully.
        if error is not None and not (isinstance(error, SystemExit) and error.code in (None, 0)):
            what = traceback.format_exception_only(error)[-1].rstrip()
            text = f"Task {self._task_name} failed after {seconds:.3f} s: {what}"
            self._add(text, ("failed", None, round(seconds, 6)), error)
        elif self._is_started:
            text = f"Task {self._task_name} succeeded after {seconds:.3f} s"
            self._add(text, ("succeeded", None, round(seconds, 6)))

    def _add(self, message: str, event: Event, error: BaseException | None = None) -> None:
        with suppress(Exception):
            self._buffer.add(event_row(message, event, error))

    def _close(self) -> None:
        if os.getpid() != self._pid:
            return
        self._stop_listening()
        self._buffer.is_open = False
        self._sender.close()
        total, missing = self._buffer.total, self._buffer.total - self._sender.confirmed
        if missing:
            text = "%d of %d log records did not reach the interservice bus: %s"
            logger.warning(text, missing, total, self._sender.fault or "more were logged than could be sent")
        _open_buffers.discard(self._buffer)
        # Last, so that a call that a signal interrupts is repeated when the process ends.
        atexit.unregister(self._close)


_open_buffers: set[Buffer] = set()


def _close_in_forked_process() -> None:
    # No lock is acquired: the thread that holds it may not exist in this process.
    for each in _open_buffers:
        each.is_open = False
    _open_buffers.clear()


os.register_at_fork(after_in_child=_close_in_forked_process)
