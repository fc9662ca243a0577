"""
Send the log records of a task to the interservice bus: the process that `log_pump` starts.

Runs in: task environment, as ``python -P -m dkist_processing_core.isb.logs.shipper DESCRIPTOR``, with records on the
standard input and a status written to the descriptor. It goes on for at most `FLUSH_SECONDS` after the task has ended,
however that was, and says nothing on any other way: nobody would hear it.
"""

import os
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from dkist_processing_core.isb.logs.outbox import Outbox
from dkist_processing_core.isb.logs.probe import address, trouble
from dkist_processing_core.isb.logs.record import (
    END,
    FACTS,
    RECORDS,
    Status,
    packed_status,
    read_frames,
    unpacked_facts,
)

if TYPE_CHECKING:
    from dkist_processing_core.isb.logs.link import Link

__all__ = ["main"]

FLUSH_SECONDS = 3.0
# So long before that it gives up on what was not sent, to tell how much it was.
LAST_SECONDS = 0.5
# How long a task runs before records are sent; see Shipper._hold_back.
HOLD_BACK_SECONDS = 2.0
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
LAST_PAUSE_SECONDS = 0.2
# A wrong password does not become right soon.
HOPELESS_PAUSE_SECONDS = 30.0
# The task comes first where there are fewer processors than there is to do.
NICENESS = 10

KILLED = (
    "The log of the task ends here without its end: its process was killed, or could not hand over the rest in time"
)


class Shipper:
    """
    Reads records in one thread and sends them in the other.

    Parameters
    ----------
    status_descriptor
        Where a status is written to.
    """

    def __init__(self, status_descriptor: int) -> None:
        self._status_descriptor = status_descriptor
        self._told = Status()
        self._outbox = Outbox()
        self._link: Link | None = None
        self._parent = os.getppid()
        self._is_ended = threading.Event()
        self._ending = threading.Lock()

    def run(self) -> None:
        """Send until the task has ended and everything is sent, or the time is over."""
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self._send()
        except Exception as error:  # a setting that cannot be used
            self._outbox.reason = f"{type(error).__name__}: {error}"
            self._outbox.hold_nothing()
            self._tell()
            self._is_ended.wait()
        self._tell()

    def _hold_back(self) -> None:
        """
        Wait until it makes sense to go on.

        Something must answer at the address of the bus, and the task must have ended, so that nobody is disturbed any
        more, or run for a while, so that nobody feels it.
        """
        began = time.monotonic()
        pause = FIRST_PAUSE_SECONDS
        place = address()
        while place is not None and (reason := trouble(*place)):
            self._outbox.reason = reason
            self._watch()
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            self._pause(pause)
        self._outbox.reason = None
        self._watch()
        while place is not None and time.monotonic() - began < HOLD_BACK_SECONDS and not self._outbox.is_half_full:
            if self._is_ended.wait(HOLD_BACK_SECONDS / 10):
                return
        # Not before: on a busy machine a short task would have ended long before its log is sent.
        _let_others_go_first()

    def _pause(self, seconds: float) -> None:
        # At random, so that all the tasks of a site do not come back to a broker in the same moment. The module random
        # takes longer to import than all the rest.
        if self._is_ended.wait(seconds * (0.5 + os.urandom(1)[0] / 512)):
            time.sleep(LAST_PAUSE_SECONDS)

    def _send(self) -> None:
        self._hold_back()
        # Imported only now, see log_probe.
        from dkist_processing_core.isb.logs.link import Link
        from dkist_processing_core.isb.settings import InterserviceBusConfiguration

        configuration = InterserviceBusConfiguration()
        pause = FIRST_PAUSE_SECONDS
        refusal = None
        while not self._outbox.is_ended or self._outbox.has_more:
            link = Link(configuration, self._outbox, refusal=refusal, watch=self._watch)
            self._link = link
            try:
                link.run()
            except Exception as error:  # pika is sometimes taken by surprise by what a peer does
                self._outbox.reason = f"{type(error).__name__}: {error}"
            self._link = None
            refusal = link.refusal
            self._watch()
            pause = FIRST_PAUSE_SECONDS if link.has_confirmed else min(2 * pause, LONGEST_PAUSE_SECONDS)
            if not link.can_pass and self._outbox.is_ended:
                return
            self._pause(pause if link.can_pass else HOPELESS_PAUSE_SECONDS)

    def _read(self) -> None:
        """Take what the task hands over until it ends."""
        total = None
        with open(0, "rb", closefd=False) as pipe:
            for frame in read_frames(pipe.read):
                if frame.kind == FACTS:
                    self._outbox.set_facts(unpacked_facts(frame))
                elif frame.kind == RECORDS:
                    self._outbox.add(frame)
                    self._wake()
                elif frame.kind == END:
                    total = frame.first - 1
                    break
        self._end(total)

    def _end(self, total: int | None) -> None:
        """Let the rest be sent, and see to it that this process ends soon, whatever its other thread is at."""
        with self._ending:
            if self._outbox.is_ended:
                return
            if total is None:
                self._outbox.add_last_words(KILLED)
            self._outbox.end(total)
        self._tell()
        self._is_ended.set()
        self._wake()
        time.sleep(FLUSH_SECONDS - LAST_SECONDS)
        self._outbox.is_time_over = True
        self._wake()
        time.sleep(LAST_SECONDS)
        os._exit(0)

    def _wake(self) -> None:
        link = self._link
        if link is not None:
            with suppress(Exception):  # its loop may just have been closed; whoever closed it looks for more by itself
                link.wake()

    def _watch(self) -> None:
        self._tell()
        # The end of the pipe tells that the task has ended, unless a process that it forked holds the pipe open.
        if os.getppid() != self._parent and not self._outbox.is_ended:
            threading.Thread(target=self._end, args=[None], daemon=True).start()

    def _tell(self) -> None:
        """Write the status for the task if there is something new, and if it can be written at once."""
        status = self._outbox.status()
        if status != self._told:
            with suppress(OSError):
                os.write(self._status_descriptor, packed_status(status))
                self._told = status


def _let_others_go_first() -> None:
    """Lower the priority of this process."""
    with suppress(OSError):
        os.nice(NICENESS)
    # Where Linux schedules by session (sched_autogroup_enabled), it is the priority of the session that counts.
    with suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib takes long to import
        file.write(f"{NICENESS}\n")


def main() -> None:
    """Run until there is nothing more to send."""
    shipper = Shipper(int(sys.argv[1]))
    shipper.run()
    # What pika may have left behind is of no interest any more.
    os._exit(0)


if __name__ == "__main__":
    main()
