"""
Run the tasks of a local run in this process, for a debugger.

Runs in: author and CI. A task affects the process of the command. Only signals, forks and ``os._exit`` are handled.
"""

import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from dkist_processing_core.authoring.spec import NodeSpec, WorkflowSpec
from dkist_processing_core.common.outcome import Outcome
from dkist_processing_core.local.executors import SPANS_VARIABLE, Ended

__all__ = ["InProcessExecutor"]

KILOBYTE = 1024


class InProcessExecutor:
    """
    Runs each try in this process, so that a debugger can stop in it. With ``is_debugged``, pdb starts at an error.

    The log and output of a task go to the streams of this process.
    """

    def __init__(self, workflow: WorkflowSpec, environment: Mapping[str, str], *, is_debugged: bool) -> None:
        self._workflow = workflow
        self._is_debugged = is_debugged
        self._before = dict(os.environ)
        self._done: list[Ended] = []
        # One end is closed, so the other one is always readable.
        self._ready, other = socket.socketpair()
        other.close()
        os.environ.clear()
        os.environ.update(environment)

    def fileno(self) -> int:
        """Return a descriptor that is always readable."""
        return self._ready.fileno()

    def start(self, node: NodeSpec, log: Path, spans: Path) -> None:  # noqa: ARG002 - as of `ForkExecutor`
        """Run one try of a task to its end."""
        from dkist_processing_core.runtime.main import exit_status, failure, logger, run_task

        before = resource.getrusage(resource.RUSAGE_SELF)
        process = os.getpid()
        status, outcome = 0, Outcome(state="succeeded")
        os.environ[SPANS_VARIABLE] = str(spans)
        try:
            with _raising_signals(), _no_silent_exit(node.name):
                run_task(node.task, workflow_name=self._workflow.name, workflow_version=self._workflow.version)
        except BaseException as error:
            if status := exit_status(error):
                outcome = failure(error, node.task, status, logger.error)
            if status and self._is_debugged:
                import pdb  # noqa: T100 - requested with --pdb

                traceback.print_exception(error)
                pdb.post_mortem(error.__traceback__)
        if os.getpid() != process:  # the task has forked, and this is the child process
            os._exit(status)
        after = resource.getrusage(resource.RUSAGE_SELF)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self._done.append(Ended(node.name, status, seconds, after.ru_maxrss * KILOBYTE, outcome))

    def end(self, number: int = signal.SIGTERM) -> None:
        """Do nothing, since `start` returns only after the try has ended."""

    def ended(self) -> Iterator[Ended]:
        """Yield the tries that have ended."""
        while self._done:
            yield self._done.pop(0)

    def close(self) -> None:
        """Restore the environment variables."""
        self._ready.close()
        os.environ.clear()
        os.environ.update(self._before)


@contextmanager
def _raising_signals() -> Iterator[None]:
    """Make SIGINT and SIGTERM end the task in this process, after their previous handlers have run."""

    def end(number: int, frame: FrameType | None) -> None:
        if callable(handler := before[number]):
            handler(number, frame)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    before: dict[int, Any] = {}
    with suppress(ValueError):  # only the main thread can set handlers
        for number in (int(signal.SIGINT), int(signal.SIGTERM)):
            before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _no_silent_exit(task: str) -> Iterator[None]:
    """Report a call of ``os._exit`` in a task in this process, and end the process with an error."""
    process, leave = os.getpid(), os._exit

    def refuse(status: int) -> None:
        if os.getpid() == process:
            sys.stderr.write(f"Error: {task} has called os._exit({status}), which ends the run. Resume it.\n")
            sys.stderr.flush()
            status = status or 1
        leave(status)

    os._exit = refuse  # type: ignore[assignment]
    try:
        yield
    finally:
        os._exit = leave
