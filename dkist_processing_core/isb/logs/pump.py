"""
Hand the log records of a task over to the log shipper, the process that sends them.

Runs in: task environment, in a background thread of the process of the task. This thread does little but write to a
pipe, for which it does not need the interpreter's lock; JSON, AMQP and waiting are the business of the other process.
That one outlives the task for a moment, and a task that is killed loses a few hundredths of a second of its log, or
some tenths if it logs faster than anybody can read.
"""

import contextlib
import fcntl
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from queue import Empty
from typing import Any

from dkist_processing_core.isb.logs.intake import LogIntake
from dkist_processing_core.isb.logs.record import STATUS_BYTES, Frame, Status, header, packed_facts, unpacked_status

__all__ = ["Pump"]

# Linux allows everybody this much, and a pipe that holds more makes the pump wait less.
PIPE_BYTES = 1 << 20
# Linux takes no more at once (IOV_MAX).
MOST_PARTS = 1024
# Whenever this thread goes on after a pause or a system call, the task waits for the interpreter's lock. So there are
# few of both, and fewer still where the task floods its log.
PAUSE_SECONDS = 0.05
FLOOD_PAUSE_SECONDS = 0.2
# So many frames that have come during one pause are a flood.
FLOOD_FRAMES = 10
STATUS_SECONDS = 1.0


class Pump(threading.Thread):
    """
    Starts the log shipper and hands records over to it until it is told that there are no more.

    Parameters
    ----------
    intake
        Where the records are taken from.
    facts
        What is the same for all records of the task.

    Attributes
    ----------
    handed_over : threading.Event
        Set once the shipper has everything, or will not get it.
    has_last_status : threading.Event
        Set once `status` is what the shipper knew when it had everything.
    status : Status
        What the shipper has told last.
    fault : str or None
        Why the shipper does not get everything.
    """

    def __init__(self, intake: LogIntake, facts: Mapping[str, Any]) -> None:
        super().__init__(name="isb-log-pump", daemon=True)
        self._intake = intake
        self._facts = packed_facts(facts)
        self._is_last = False
        self._process: subprocess.Popen[bytes] | None = None
        self._read_end: int | None = None
        self._write_end: int | None = None
        self._status_end: int | None = None
        self._status_write_end: int | None = None
        self.handed_over = threading.Event()
        self.has_last_status = threading.Event()
        self.status = Status()
        self.fault: str | None = None

    def start(self) -> None:
        """
        Start the shipper and the thread.

        Raises
        ------
        OSError
            If there can be no more processes.
        """
        # Not in the thread: a process that the task forks in the meantime would have pipes of the one that is being
        # started, and the thread would wait for the end of it.
        try:
            self._start_shipper()
        except BaseException:
            self.forget()
            raise
        super().start()

    def run(self) -> None:
        """Hand over, and wait until the shipper has ended."""
        try:
            self._write(self._facts)
            self._hand_over()
            self._write(self._intake.end())
            self._close_ends("_write_end")
            self.handed_over.set()
            while self._read_status(seconds=1):
                pass
        except BrokenPipeError:
            self.fault = "the process that sends them has ended"
        except Exception as error:
            self.fault = f"{type(error).__name__}: {error}"
        finally:
            self._close_ends("_write_end")
            self.handed_over.set()
            self.has_last_status.set()
            if self._process is not None:
                self._process.wait()
            self._close_ends("_status_end")

    def finish(self) -> None:
        """Say that no more records come."""
        self._is_last = True
        self._intake.wakes.put(None)

    def forget(self) -> None:
        """
        Close what a forked process has of the pipes.

        The shipper knows by the end of its pipe that the task has ended; nobody else may hold it open.
        """
        self._process = None
        self._close_ends("_write_end", "_read_end", "_status_end", "_status_write_end")

    def _start_shipper(self) -> None:
        self._read_end, self._write_end = os.pipe()
        self._status_end, self._status_write_end = os.pipe()
        for end in (self._write_end, self._status_end, self._status_write_end):
            os.set_blocking(end, False)
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(self._write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        # A session of its own, so that what ends the task's process group does not end it; no descriptor but these,
        # so that neither Airflow, which reads the task's output, nor whoever wants its locks waits for it.
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-P", "-m", "dkist_processing_core.isb.logs.shipper", str(self._status_write_end)],
            stdin=self._read_end,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[self._status_write_end],
            start_new_session=True,
        )
        self._close_ends("_read_end", "_status_write_end")

    def _hand_over(self) -> None:
        status_at = time.monotonic()
        while True:
            is_last = self._is_last
            frames = 0
            for load in self._intake.loads():
                self._write(*load)
                frames += len(load)
            if is_last:
                return
            if not frames or time.monotonic() - status_at > STATUS_SECONDS:
                self._read_status(seconds=0)
                status_at = time.monotonic()
            if not frames and self._intake.await_records():
                self._intake.wakes.get()
            if not self._is_last:
                # More records follow the first one as a rule, and to pack them together costs less.
                with contextlib.suppress(Empty):
                    self._intake.wakes.get(timeout=FLOOD_PAUSE_SECONDS if frames > FLOOD_FRAMES else PAUSE_SECONDS)

    def _write(self, *frames: Frame) -> None:
        """Write whole frames, however long the shipper takes to read; others wait or are dropped meanwhile."""
        if self._write_end is None:
            raise BrokenPipeError
        left = [memoryview(part) for frame in frames for part in (header(frame), frame.payload)]
        while left:
            try:
                written = os.writev(self._write_end, left[:MOST_PARTS])
            except BlockingIOError:
                waiting = select.poll()
                waiting.register(self._write_end, select.POLLOUT)
                waiting.poll()
                continue
            while left and written >= len(left[0]):
                written -= len(left.pop(0))
            if written:
                left[0] = left[0][written:]

    def _read_status(self, *, seconds: float) -> bool:
        """Note what the shipper has told last; return whether it may tell more."""
        if self._status_end is None:
            return False
        waiting = select.poll()
        waiting.register(self._status_end, select.POLLIN)
        waiting.poll(seconds * 1000)
        try:
            read = os.read(self._status_end, 32 * STATUS_BYTES)
        except BlockingIOError:
            return True
        if read:
            self.status = unpacked_status(read)
            if self.status.is_last:
                self.has_last_status.set()
        return bool(read)

    def _close_ends(self, *names: str) -> None:
        for name in names:
            end = getattr(self, name)
            # Forgotten first: a process that is forked between the two must not close what is not there any more.
            setattr(self, name, None)
            if end is not None:
                os.close(end)
