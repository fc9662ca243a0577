"""
Run the tasks of a local run in processes of their own, with the current Python or with the worker program.

Runs in: author and CI. An executor starts tries and reports how they ended. `in_process` has the other executor.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from dkist_processing_core.authoring.spec import NodeSpec, WorkflowSpec
from dkist_processing_core.common.outcome import OUTCOME_VARIABLE, Outcome
from dkist_processing_core.exceptions import LocalRunError
from dkist_processing_core.rendering.script import node_variables

__all__ = ["SPANS_VARIABLE", "Ended", "ForkExecutor", "ForkserverProcess"]

END_SECONDS = 20.0  # the tasks have 10 s to end, and 5 s to be killed
READ_BYTES = 1 << 16
SPANS_VARIABLE = "DKIST_SPANS_FILE"


class Ended(NamedTuple):
    """The end of one try of a task: exit status, processor time, peak memory, and the outcome that it wrote."""

    task: str
    status: int
    cpu_seconds: float
    peak_memory_bytes: int
    outcome: Outcome | None


class ForkserverProcess:
    """The process of `forkserver`. It gets ready in the background, and ends when it is closed."""

    def __init__(self) -> None:
        self.connection, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this Python, and our own module
                [sys.executable, "-P", "-m", "dkist_processing_core.local.forkserver", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, map(os.path.abspath, sys.path)))},
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def hold(self, descriptor: int) -> None:
        """Keep a descriptor open as long as the forkserver runs, even if this process is killed."""
        socket.send_fds(self.connection, [b"\n"], [descriptor])

    def close(self) -> None:
        """End the forkserver and all tasks that are still running."""
        self.connection.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class ForkExecutor:
    """
    Runs each try in a process of its own, a child of the forkserver.

    ``environment`` contains the variables of the tasks. With ``is_worker``, the worker program runs each try in the
    environment of its release.
    """

    def __init__(
        self,
        workflow: WorkflowSpec,
        environment: Mapping[str, str],
        folder: Path,
        *,
        server: ForkserverProcess,
        is_worker: bool,
    ) -> None:
        self._workflow = workflow
        self._environment = dict(environment)
        self._folder = folder
        self._is_worker = is_worker
        self._running: dict[int, str] = {}
        self._last = 0
        self._rest = b""
        self._server = server
        (folder / "outcomes").mkdir(exist_ok=True)

    def fileno(self) -> int:
        """Return the descriptor that is readable when a try has ended."""
        return self._server.connection.fileno()

    def start(self, node: NodeSpec, log: Path, spans: Path) -> None:
        """Start one try of a task, which appends to a log and writes its spans to a file."""
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
        """Send a signal to all running tries."""
        for each in self._running:
            self._send({"id": each, "signal": number})

    def ended(self) -> Iterator[Ended]:
        """Yield the tries that have ended; wait for one unless `fileno` is readable."""
        data = self._server.connection.recv(READ_BYTES)
        if not data:
            raise LocalRunError(
                "the process that starts the tasks has ended, so the result of a running task is unknown"
            )
        *lines, self._rest = (self._rest + data).split(b"\n")
        for answer in map(json.loads, lines):
            name = self._running.pop(answer["id"])
            yield Ended(name, answer["status"], answer["cpu_seconds"], answer["peak_memory_bytes"], self._outcome(name))

    def _send(self, request: Mapping[str, Any]) -> None:
        self._server.connection.sendall((json.dumps(request) + "\n").encode())

    def _outcome_file(self, name: str) -> Path:
        return self._folder / "outcomes" / f"{name}.json"

    def _outcome(self, name: str) -> Outcome | None:
        try:
            return Outcome.from_json(self._outcome_file(name).read_text(encoding="utf-8", errors="replace"))
        except (OSError, ValueError):
            return None
