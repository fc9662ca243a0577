"""
Where the tasks of a local run are run.

Runs in: author and CI. An executor starts tries and tells how they have ended; `ForkExecutor` runs each in a process of
its own, of the current Python or by the worker program, `InProcessExecutor` in this one.
"""

import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from dkist_processing_core.authoring.spec import NodeSpec, WorkflowSpec
from dkist_processing_core.common.outcome import OUTCOME_VARIABLE, Outcome
from dkist_processing_core.exceptions import LocalRunError
from dkist_processing_core.rendering.script import node_variables

__all__ = ["Ended", "ForkExecutor", "InProcessExecutor"]

END_SECONDS = 20.0  # the tasks have 10 s, and 5 s to be killed
READ_BYTES = 1 << 16
KILOBYTE = 1024
SPANS_VARIABLE = "DKIST_SPANS_FILE"


class Ended(NamedTuple):
    """How one try of a task has ended: exit status, use of the processor and of memory, and what the task says."""

    task: str
    status: int
    cpu_seconds: float
    peak_memory_bytes: int
    outcome: Outcome | None


class ForkExecutor:
    """
    Runs each try in a process of its own, a child of the `forkserver`.

    ``environment`` is that of the tasks, ``descriptors`` stay open as long as the forkserver runs. With ``is_worker``
    each is run by the worker program, in the environment of its release.
    """

    def __init__(
        self,
        workflow: WorkflowSpec,
        environment: Mapping[str, str],
        folder: Path,
        *,
        is_worker: bool,
        descriptors: Sequence[int] = (),
    ) -> None:
        self._workflow = workflow
        self._environment = dict(environment)
        self._folder = folder
        self._is_worker = is_worker
        self._running: dict[int, str] = {}
        self._last = 0
        self._rest = b""
        self._connection, theirs = socket.socketpair()
        with theirs:
            self._server = subprocess.Popen(  # noqa: S603 - this Python, and a module of ours
                [
                    *(sys.executable, "-P", "-m", "dkist_processing_core.local.forkserver"),
                    *map(str, (theirs.fileno(), *descriptors)),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), *descriptors),
                env={**environment, "PYTHONPATH": os.pathsep.join(filter(None, map(os.path.abspath, sys.path)))},
                start_new_session=True,
            )
        (folder / "outcomes").mkdir(exist_ok=True)

    def fileno(self) -> int:
        """Return the descriptor that can be read when a try has ended."""
        return self._connection.fileno()

    def start(self, node: NodeSpec, log: Path, spans: Path) -> None:
        """Start one try of a task, which writes to the end of a log, and its spans to a file."""
        self._last += 1
        self._running[self._last] = node.name
        self._outcome_file(node.name).unlink(missing_ok=True)
        variables = node_variables(self._workflow, node) if self._is_worker else {}
        arguments = [
            node.task,
            f"--workflow-name={self._workflow.name}",
            f"--workflow-version={self._workflow.version}",
        ]
        self._send(
            {
                "id": self._last,
                "is_program": self._is_worker,
                "arguments": [sys.executable, "-P", "-m", "dkist_processing_core.worker"]
                if self._is_worker
                else arguments,
                "environment": {
                    **self._environment,
                    **variables,
                    OUTCOME_VARIABLE: str(self._outcome_file(node.name)),
                    SPANS_VARIABLE: str(spans),
                },
                "path": sys.path,
                "log": str(log),
            }
        )

    def end(self, number: int = signal.SIGTERM) -> None:
        """Send a signal to all that runs."""
        for each in self._running:
            self._send({"id": each, "signal": number})

    def ended(self) -> Iterator[Ended]:
        """Yield the tries that have ended; it waits for one unless `fileno` can be read."""
        data = self._connection.recv(READ_BYTES)
        if not data:
            raise LocalRunError("the process that starts the tasks has ended, so nothing is known of those that ran")
        *lines, self._rest = (self._rest + data).split(b"\n")
        for answer in map(json.loads, lines):
            name = self._running.pop(answer["id"])
            yield Ended(name, answer["status"], answer["cpu_seconds"], answer["peak_memory_bytes"], self._outcome(name))

    def _send(self, request: Mapping[str, Any]) -> None:
        self._connection.sendall((json.dumps(request) + "\n").encode())

    def _outcome_file(self, name: str) -> Path:
        return self._folder / "outcomes" / f"{name}.json"

    def _outcome(self, name: str) -> Outcome | None:
        try:
            return Outcome.from_json(self._outcome_file(name).read_text(encoding="utf-8", errors="replace"))
        except (OSError, ValueError):
            return None

    def close(self) -> None:
        """End all that still runs."""
        self._connection.close()
        try:
            self._server.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()


class InProcessExecutor:
    """
    Runs each try in this process, such that a debugger can stop in it; with ``is_debugged`` it does at an error.

    What the task logs and prints goes to this process's streams.
    """

    def __init__(self, workflow: WorkflowSpec, environment: Mapping[str, str], *, is_debugged: bool) -> None:
        self._workflow = workflow
        self._is_debugged = is_debugged
        self._before = dict(os.environ)
        self._done: list[Ended] = []
        # One end is closed, so the other one can always be read.
        self._ready, other = socket.socketpair()
        other.close()
        os.environ.clear()
        os.environ.update(environment)

    def fileno(self) -> int:
        """Return a descriptor that can always be read."""
        return self._ready.fileno()

    def start(self, node: NodeSpec, log: Path, spans: Path) -> None:  # noqa: ARG002 - the log of the other executor
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
                import pdb  # noqa: T100 - what was asked for

                traceback.print_exception(error)
                pdb.post_mortem(error.__traceback__)
        if os.getpid() != process:  # the task has forked, and this is not the process that goes on
            os._exit(status)
        after = resource.getrusage(resource.RUSAGE_SELF)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self._done.append(Ended(node.name, status, seconds, after.ru_maxrss * KILOBYTE, outcome))

    def end(self, number: int = signal.SIGTERM) -> None:
        """Do nothing: nothing runs meanwhile."""

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
    """Let SIGINT and SIGTERM end the task that runs in this process, after what they do otherwise."""

    def end(number: int, frame: FrameType | None) -> None:
        if callable(handler := before[number]):
            handler(number, frame)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    before: dict[int, Any] = {}
    with suppress(ValueError):  # not the main thread, which alone can
        for number in (int(signal.SIGINT), int(signal.SIGTERM)):
            before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _no_silent_exit(task: str) -> Iterator[None]:
    """Let ``os._exit`` in a task that runs in this process end it with an error; nothing else could notice it."""
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


def wait(executor: ForkExecutor | InProcessExecutor, *others: int, seconds: float | None) -> bool:
    """Wait until a try has ended, or one of other descriptors can be read; return whether a try has."""
    readable, _, _ = select.select([executor, *others], [], [], seconds)
    return executor in readable
