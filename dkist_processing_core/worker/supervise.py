"""
Run a program, and end it with all its descendants when it ends, when this process is to end, or when Airflow dies.

Runs in: worker.
"""

import ctypes
import errno
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dkist_processing_core.common.programs import parents
from dkist_processing_core.worker import log
from dkist_processing_core.worker.errors import WorkerError

__all__ = ["SIGNALLED", "Supervisor"]

SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
SIGNALLED = 128  # what a shell adds to the number of a signal
# Time for processes that end by themselves after the program.
REMAINDER_SECONDS = 0.3
KILL_SECONDS = 5.0  # a process that the kernel does not release must not delay the exit
# The resource trackers of multiprocessing and loky end by themselves when no other process has their pipe open. Before
# that, they remove the shared memory that the task left behind. If they were killed at once, it would remain forever.
TRACKER = b"resource_tracker import main"
TRACKER_SECONDS = 10.0
PARENT_POLL_SECONDS = 0.5
POLL_SECONDS = 0.02
PR_SET_CHILD_SUBREAPER = 36


class Supervisor:
    """
    Runs programs one after the other, and ends them.

    From the construction of this object, the process blocks the signals that would end it, and polls for them. So no
    signal is lost: the running program is ended with SIGTERM, or the next one is not started. A program has
    ``grace_seconds`` to end; ``has_killed`` tells whether it took longer and was killed. With ``is_watching_parent``,
    the program is also ended when the parent of this process has ended.
    """

    def __init__(self) -> None:
        self.grace_seconds = 10
        self.is_watching_parent = False
        self.has_killed = False
        self._parent = os.getppid()
        self._received = ""
        # An ignored signal, such as with nohup, stays ignored, except SIGCHLD.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._blocked = {signal.SIGCHLD, *(each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN)}
        signal.pthread_sigmask(signal.SIG_BLOCK, self._blocked)
        # Orphaned descendants become children of this process, so that it can end them.
        with suppress(AttributeError, OSError):
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def check(self) -> None:
        """Raise a `WorkerError` if this process was asked to end, or its parent has ended."""
        if reason := self._reason_to_end():
            number = signal.Signals[self._received] if self._received else signal.SIGTERM
            raise WorkerError(SIGNALLED + number, f"{reason} before the task was started.")

    def run(  # noqa: PLR0913 - like that of subprocess
        self,
        command: Sequence[object],
        environment: Mapping[str, str],
        folder: Path | None = None,
        on_line: Callable[[bytes], None] | None = None,
        *,
        name: str,
        descriptors: Iterable[int] = (),
    ) -> int:
        """
        Run a program in a process group of its own, end everything that it leaves behind, and return its exit status.

        After a signal, the exit status is 128 plus the number of the signal. ``name`` is the name of the program in the
        log. It inherits ``descriptors`` and the standard streams. ``on_line`` is called in a thread with each line of
        output.
        """
        self.check()
        process = subprocess.Popen(  # noqa: S603 - no shell, and our own arguments
            [str(word) for word in command],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if on_line else None,
            stderr=subprocess.STDOUT if on_line else None,
            pass_fds=tuple(descriptors),
            process_group=0,
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, self._blocked),  # noqa: PLW1509 - no threads
        )
        try:
            join = _read_lines(process, on_line) if on_line else None
            process.returncode = self._wait(process.pid, name)
            self._end_remainder(process.pid, name)
            if join:
                join(KILL_SECONDS)
        except BaseException:
            self._end_remainder(process.pid, name)
            raise
        return process.returncode

    def _wait(self, pid: int, name: str) -> int:
        deadline = math.inf
        while True:
            ended = _reap()
            if pid in ended:
                return ended[pid]
            now = time.monotonic()
            if deadline == math.inf and (reason := self._reason_to_end()):
                _signal_group(pid, signal.SIGTERM)
                deadline = now + self.grace_seconds
                log.info(f"{reason}; {name} has {self.grace_seconds} s to end")
            if now >= deadline + KILL_SECONDS:
                return SIGNALLED + signal.SIGKILL
            if now >= deadline:
                self.has_killed = True
                _kill(pid, _trackers(pid))
            elif deadline < math.inf:
                # A stopped process does not get SIGTERM, and Python may handle it only after a system call that began
                # meanwhile.
                _signal_group(pid, signal.SIGCONT)
            self._sleep(POLL_SECONDS if now >= deadline else min(PARENT_POLL_SECONDS, deadline - now))

    def _end_remainder(self, group: int, name: str) -> None:
        """End the processes that a program has left behind, in any session or process group."""
        deadline = time.monotonic() + REMAINDER_SECONDS
        limit = deadline + KILL_SECONDS
        has_killed = False
        while _is_anything_left(group):
            now = time.monotonic()
            trackers = _trackers(group) if deadline <= now < deadline + TRACKER_SECONDS else set()
            if trackers:
                limit = now + KILL_SECONDS
            if now >= limit:
                log.warning(f"processes that {name} had left behind could not be killed")
                return
            if now >= deadline:
                has_killed |= _kill(group, trackers)
            self._sleep(POLL_SECONDS)
        if has_killed:
            log.info(f"processes that {name} had left behind were killed")

    def _sleep(self, seconds: float) -> None:
        """Wait for a signal, which may be SIGCHLD."""
        received = signal.sigtimedwait(self._blocked, max(seconds, 0))
        if received and received.si_signo in SIGNALS:
            self._received = self._received or signal.Signals(received.si_signo).name

    def _reason_to_end(self) -> str:
        while not self._received and signal.sigpending() & SIGNALS:
            self._sleep(0)
        if self._received:
            return f"{self._received} was received"
        if self.is_watching_parent and os.getppid() != self._parent:
            return "the process that started this one has ended"
        return ""


def _read_lines(process: "subprocess.Popen[bytes]", on_line: Callable[[bytes], None]) -> Callable[[float], None]:
    """Pass on the output of a process in a thread; return a function that waits for the thread."""
    import threading

    def read() -> None:
        for line in process.stdout or ():
            on_line(line.removesuffix(b"\n") + b"\n")

    thread = threading.Thread(target=read, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # Python raises it at the limit on processes
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
    return thread.join


def _reap() -> dict[int, int]:
    """Return the exit status of each child that has ended."""
    ended = {}
    with suppress(ChildProcessError):
        while (child := os.waitpid(-1, os.WNOHANG))[0]:
            code = os.waitstatus_to_exitcode(child[1])
            ended[child[0]] = SIGNALLED - code if code < 0 else code
    return ended


def _is_anything_left(group: int) -> bool:
    """Return whether this process has children, or the process group has members."""
    _reap()
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return _signal_group(group, 0)
    return True


def _trackers(group: int) -> set[int]:
    """Return the resource trackers in a process group, or among the children of this process."""
    return {pid for pid in _members(group) if TRACKER in _command(pid)}


def _members(group: int) -> set[int]:
    """Return the processes of a group, and the children of this process."""
    found = set()
    for pid, parent in parents().items():
        with suppress(OSError):
            if parent == os.getpid() or os.getpgid(pid) == group:
                found.add(pid)
    return found


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _kill(group: int, spared: set[int]) -> bool:
    """
    Kill a process group and the children of this process; return whether there were any.

    Their orphans become children of this process in turn.
    """
    # All at once if possible, so that none can start another process meanwhile.
    has_killed = not spared and _signal_group(group, signal.SIGKILL)
    for pid in _members(group) - spared:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            has_killed = True
    return has_killed


def _signal_group(group: int, number: int) -> bool:
    """Send a signal to a process group; return whether it has members."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
