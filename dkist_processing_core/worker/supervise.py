"""
Run a program such that nothing of it is left when it ends, when this process is asked to end, or when Airflow dies.

Runs in: worker.
"""

import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from dkist_processing_core.worker import log
from dkist_processing_core.worker.errors import InterruptedBySignalError

__all__ = ["SIGNALLED", "Supervisor"]

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SIGNALLED = 128  # what a shell adds to the number of a signal
POLL_SECONDS_OF_PARENT = 0.5
# Time for what ends by itself once the program has, such as the resource tracker of multiprocessing.
REMAINDER_SECONDS = 0.3
KILL_SECONDS = 5.0  # a process that the kernel does not let go must not hold up the exit
POLL_SECONDS = 0.02
PR_SET_CHILD_SUBREAPER = 36


class Supervisor:
    """
    Runs programs, one after the other, and ends them.

    From its construction on no signal is lost: it is passed on to the program that runs, or to the next one's place.

    Attributes
    ----------
    grace_seconds
        How long a program may take to end when it is asked to.
    is_watching_parent
        Whether to end as well when the process that started this one has ended.
    """

    def __init__(self) -> None:
        self.grace_seconds = 10
        self.is_watching_parent = False
        self._parent = os.getppid()
        self._received: signal.Signals | None = None
        # Signals write into a pipe, so that one that arrives just before the wait ends the wait.
        self._wakeup, write = os.pipe()
        for descriptor in (self._wakeup, write):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets it
                signal.signal(number, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD, *SIGNALS})
        _become_subreaper()

    def check(self) -> None:
        """
        Do nothing unless this process was asked to end.

        Raises
        ------
        InterruptedBySignalError
            If it was, or the process that started it has ended.
        """
        if reason := self._reason_to_end():
            raise InterruptedBySignalError(
                SIGNALLED + (self._received or signal.SIGTERM), f"{reason} before the task was started."
            )

    def run(  # noqa: PLR0913 - by name, like those of subprocess
        self,
        command: Sequence[object],
        *,
        name: str,
        environment: Mapping[str, str],
        folder: Path | None = None,
        descriptors: Iterable[int] = (),
        on_line: Callable[[bytes], None] | None = None,
    ) -> int:
        """
        Run a program in a process group of its own, and end all that it leaves behind.

        Parameters
        ----------
        command
            The program and its arguments.
        name
            What to call it in the log.
        environment
            Its environment variables.
        folder
            Its working folder; that of this process by default.
        descriptors
            What it inherits besides the standard streams.
        on_line
            Called with each line that it writes; by default it writes to the streams of this process.

        Returns
        -------
        int
            Its exit status; 128 and the number of the signal that killed it.

        Raises
        ------
        InterruptedBySignalError
            If this process was asked to end before the program was started.
        OSError
            If it cannot be started.
        """
        self.check()
        with subprocess.Popen(  # noqa: S603 - no shell, and arguments of ours
            [str(word) for word in command],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if on_line else None,
            stderr=subprocess.STDOUT if on_line else None,
            bufsize=0,
            pass_fds=tuple(descriptors),
            process_group=0,
        ) as process:
            try:
                lines = _Lines(process.stdout.fileno(), on_line) if process.stdout and on_line else None
                status = process.returncode = self._wait(process.pid, name, lines)
                self._end_remainder(process.pid, name)
                if lines:
                    lines.read(is_last=True)
            except BaseException:
                _kill(process.pid)
                raise
        return status

    def _wait(self, pid: int, name: str, lines: "_Lines | None") -> int:
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
            if now >= deadline:
                _kill(pid)
            if now >= deadline + KILL_SECONDS:
                return SIGNALLED + signal.SIGKILL
            pause = POLL_SECONDS if now >= deadline else min(POLL_SECONDS_OF_PARENT, deadline - now)
            self._sleep(pause, lines)

    def _end_remainder(self, pid: int, name: str) -> None:
        """End what a program has left behind, in whatever session or process group it is."""
        began = time.monotonic()
        deadline = began + REMAINDER_SECONDS
        has_killed = False
        while _is_anything_left(pid):
            now = time.monotonic()
            if now >= deadline + KILL_SECONDS:
                log.warning(f"processes that {name} had left behind could not be killed")
                return
            if now >= deadline:
                _kill(pid)
                has_killed = True
            self._sleep(POLL_SECONDS)
        if has_killed:
            log.info(f"processes that {name} had left behind were killed")

    def _sleep(self, seconds: float, lines: "_Lines | None" = None) -> None:
        """Wait for a signal, the end of a process, or output."""
        sources = [self._wakeup, *([lines.descriptor] if lines and not lines.is_at_end else [])]
        ready, _, _ = select.select(sources, [], [], max(seconds, 0.001))
        if self._wakeup in ready:
            with suppress(BlockingIOError):
                os.read(self._wakeup, 4096)
        if lines and lines.descriptor in ready:
            lines.read()

    def _reason_to_end(self) -> str:
        if self._received:
            return f"{self._received.name} was received"
        if self.is_watching_parent and os.getppid() != self._parent:
            return "the process that started this one has ended"
        return ""

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._received = self._received or signal.Signals(number)


class _Lines:
    """The output of a program, passed on line by line."""

    def __init__(self, descriptor: int, on_line: Callable[[bytes], None]) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self.is_at_end = False
        self._on_line = on_line
        self._rest = b""

    def read(self, *, is_last: bool = False) -> None:
        """Pass on what there is, without waiting; a last line without an end only at the last time."""
        with suppress(BlockingIOError):
            while not self.is_at_end:
                data = os.read(self.descriptor, 65536)
                self.is_at_end = not data
                *lines, self._rest = (self._rest + data).split(b"\n")
                for line in lines:
                    self._on_line(line + b"\n")
                if not is_last:
                    break
        if is_last and self._rest:
            self._on_line(self._rest + b"\n")


def _become_subreaper() -> None:
    """Let orphans among the descendants of this process become its children, so that it can end them (Linux)."""
    if sys.platform == "linux":
        import ctypes

        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _reap() -> dict[int, int]:
    """Return the exit status of each child that has ended."""
    ended = {}
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            code = os.waitstatus_to_exitcode(status)
            ended[pid] = SIGNALLED - code if code < 0 else code
    return ended


def _is_anything_left(group: int) -> bool:
    """Return whether this process has children, or a process group members."""
    try:
        while True:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return True
    except ChildProcessError:
        return _signal_group(group, 0)


def _kill(group: int) -> None:
    """Kill a process group, and the children of this process. What these leave become its children in turn."""
    _signal_group(group, signal.SIGKILL)
    for child in _children():
        with suppress(ProcessLookupError, PermissionError):
            os.kill(child, signal.SIGKILL)


def _children() -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            # The name of the program is in parentheses and may hold any character.
            parent = (process / "stat").read_bytes().rpartition(b")")[2].split()[1]
            if int(parent) == os.getpid():
                found.append(int(process.name))
    return found


def _signal_group(group: int, number: int) -> bool:
    """Send a signal to a process group; return whether that has a member."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
