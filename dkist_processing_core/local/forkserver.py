"""
The parent process of the tasks of a local run.

Runs in: author and CI, as a program: ``python -m dkist_processing_core.local.forkserver SOCKET``. It has imported what
runs a task and has no threads, so that a task starts with a fork alone. The runner sends requests through a socket, one
per line (JSON), and gets an answer when a task has ended:

* ``{"id": ..., "arguments": [...], "environment": {...}, "log": "file"}`` starts a task: `runtime.main` with these
  arguments, or with ``"is_program": true`` a program. The task gets a session of its own, and appends to its log.
* ``{"id": ..., "signal": 15}`` sends a signal to the session's process group of a task.
* ``{"id": ..., "status": 0, "cpu_seconds": 0.1, "peak_memory_bytes": 2000000}`` is the answer.

A descriptor that comes with an empty line (``SCM_RIGHTS``, :manpage:`unix(7)`) stays open as long as this process runs,
and the tasks do not inherit it. So the journal of a run is locked as long as one of its tasks may run. When the runner
closes the socket or is killed, this process ends all tasks with their descendants, and then itself.
"""

import atexit
import ctypes
import gc
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import dkist_processing_core.telemetry.memory.file  # noqa: F401 - each task records its spans, and inherits this import
from dkist_processing_core.exceptions import LocalRunError
from dkist_processing_core.runtime import main as runtime

__all__ = ["Forkserver", "main"]

GRACE_SECONDS = 10.0
KILL_SECONDS = 5.0
SIGNALLED = 128  # what a shell adds to the number of a signal
KILOBYTE = 1024
READ_BYTES = 1 << 16
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)
CANNOT_START = 126


class Forkserver:
    """Starts tasks and reports how they end. `serve` returns in the process of each task, with its request."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._held: list[int] = []  # descriptors
        self._tasks: dict[int, int] = {}  # ids of requests, by process id
        self._rest = b""
        self._wake, self._woken = socket.socketpair()
        for each in (self._wake, self._woken):
            each.settimeout(0)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)
        _prctl(PR_SET_CHILD_SUBREAPER, 1)

    def serve(self) -> Mapping[str, Any] | None:
        """Serve until the runner is gone and all tasks have ended. In the process of a task, return its request."""
        is_open = True
        while is_open:
            readable, _, _ = select.select([self._connection, self._wake], [], [])
            if self._wake in readable:
                with suppress(BlockingIOError):
                    self._wake.recv(READ_BYTES)
                self._reap()
            if self._connection in readable:
                data, descriptors, *_ = socket.recv_fds(self._connection, READ_BYTES, 1)
                self._held += descriptors
                is_open = bool(data)
                for request in self._requests(data):
                    if "signal" in request:
                        self._send(request["signal"], request["id"])
                    elif not self._start(request):
                        return request
        self._end_all()
        return None

    def _requests(self, data: bytes) -> Iterator[dict[str, Any]]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        yield from map(json.loads, filter(None, lines))

    def _start(self, request: Mapping[str, Any]) -> int:
        """Fork; return 0 in the process of the task."""
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self._tasks[pid] = request["id"]
            return pid
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # the parent had ended before
            os._exit(CANNOT_START)
        for each in (self._connection, self._wake, self._woken):
            each.close()
        for descriptor in self._held:  # a process that the task leaves behind would keep them open
            os.close(descriptor)
        return 0

    def _send(self, number: int, identifier: int | None = None) -> None:
        for pid, each in self._tasks.items():
            if identifier in {None, each}:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, number)

    def _reap(self) -> None:
        while self._tasks:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid not in self._tasks:  # a process that a task has left behind
                continue
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(status)
            answer = {
                "id": self._tasks.pop(pid),
                "status": code if code >= 0 else SIGNALLED - code,
                "cpu_seconds": usage.ru_utime + usage.ru_stime,
                "peak_memory_bytes": usage.ru_maxrss * KILOBYTE,
            }
            with suppress(OSError):  # the runner may be gone
                self._connection.sendall((json.dumps(answer) + "\n").encode())

    def _end_all(self) -> None:
        for number, seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
            self._send(number)
            deadline = time.monotonic() + seconds
            while self._tasks and time.monotonic() < deadline:
                select.select([self._wake], [], [], deadline - time.monotonic())
                with suppress(BlockingIOError):
                    self._wake.recv(READ_BYTES)
                self._reap()
        self._kill_orphans()

    @staticmethod
    def _kill_orphans() -> None:
        """Kill processes that the tasks left behind; this process has become their parent (PR_SET_CHILD_SUBREAPER)."""
        deadline = time.monotonic() + KILL_SECONDS
        with suppress(OSError):  # no more children, or not Linux
            while time.monotonic() < deadline:
                for pid in map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
                time.sleep(0.01)


def _prctl(option: int, argument: int) -> None:
    with suppress(AttributeError, OSError):  # not Linux
        ctypes.CDLL(None).prctl(option, argument, 0, 0, 0)


def run(request: Mapping[str, Any]) -> int:
    """Run the task of a request in this process, which was forked for the task."""
    null = os.open(os.devnull, os.O_RDONLY)
    Path(request["log"]).parent.mkdir(exist_ok=True)  # a task may have removed it
    log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for old, new in ((null, 0), (log, 1), (log, 2)):
        os.dup2(old, new)
    os.close(null)
    os.close(log)
    os.environ.clear()
    os.environ.update(request["environment"])
    if request.get("is_program"):
        program, *_ = arguments = request["arguments"]
        try:
            os.execvpe(program, arguments, os.environ)  # noqa: S606 - no shell
        except OSError as error:
            sys.exit(f"{program} cannot be started: {error.strerror}")
    if "PYTHONBREAKPOINT" not in os.environ:
        sys.breakpointhook = _no_terminal
    sys.argv[1:] = request["arguments"]
    sys.path[:] = request["path"]
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through=True)  # type: ignore[union-attr]
    return runtime.main(request["arguments"])


def _no_terminal(*_: object, **__: object) -> NoReturn:
    raise LocalRunError("breakpoint() has no terminal in the process of a task; run the workflow with --in-process")


def main() -> None:
    """Serve the runner at the other end of the socket; the command line contains its file descriptor."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the runner, which ends the tasks
    gc.freeze()  # the garbage collector would write to the objects, and so copy their memory pages in each task
    request = Forkserver(socket.socket(fileno=int(sys.argv[1]))).serve()
    if request is not None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _leave(run(request))


def _leave(status: int) -> NoReturn:
    """
    End this process as Python does, but without deallocating modules, as multiprocessing does after a fork.

    To deallocate what all tasks share would take longer than a short task.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - waits for non-daemon threads
    atexit._run_exitfuncs()  # noqa: SLF001 - there is no public way
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # the task may have replaced them
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    # A process that a task spawns with multiprocessing runs this module first, as in `runtime.__main__`.
    __spec__ = find_spec("dkist_processing_core.runtime.spawned")  # type: ignore[assignment]
    main()
