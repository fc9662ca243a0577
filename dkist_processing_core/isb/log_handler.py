"""
Take the log records of a task and tell the life of the task, without being in its way.

Runs in: task environment, in the process of the task, if ``DKIST_ISB_LOGGING`` says so. Neither pika nor pydantic is
imported here: another process talks to the broker, see `log_pump`.
"""

import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import Any

from dkist_processing_core.isb.log_record import END, VALUES, Frame, Rare, cut, packed_records

__all__ = ["TaskLogHandler"]

# What may wait in the process of the task for the pipe to the shipper. The shipper holds more than that.
WAITING_BYTES = 8 << 20
# What is taken out at once. Each time the interpreter's lock changes hands, so it should not be too often.
LOAD_BYTES = 1 << 19
# So many records are packed together, while they are still in the processor's cache.
PACKED_RECORDS = 200
ENOUGH = PACKED_RECORDS * VALUES
# Longer texts are cut; what is shorter than the second need not be looked at twice.
LONG_TEXT = 32_000
SHORT_TEXT = 1_000
# So many characters of longer texts are packed without waiting for more records.
PACKED_CHARACTERS = 200_000

LIFE_CYCLE_LOGGER = "dkist_processing_core.task"


class TaskLogHandler(logging.Handler):
    """
    Packs records and holds them, up to a limit, until the pump takes them away.

    Above the limit the oldest ones are dropped. Each record has a number, from 1 on in the order in which they came, so
    whoever gets them sees by a gap how many are missing. Nothing is formatted but the message, and not even that if a
    handler on the console has done so.
    """

    def __init__(self) -> None:
        super().__init__()
        # Records come in by one atomic operation from any thread. They are numbered and packed by whoever gets the
        # lock; nobody who logs ever waits for it, so it does not matter in what a signal's handler logs.
        self._values: list[Any] = []
        self._extend = self._values.extend
        self._packing = threading.Lock()
        self._packed: deque[Frame] = deque()
        self._packed_bytes = 0
        self._long_characters = 0
        self._next = 1
        self._enough = ENOUGH
        # Its put may be interrupted by another one of the same thread, which cannot be said of an Event's set.
        self.wakes: SimpleQueue[None] = SimpleQueue()

    def handle(self, record: logging.LogRecord) -> bool:
        """Take a record. Whatever is wrong with it, this does not raise."""
        # A hundred thousand of these per second must not be felt, so there is neither a filter nor a call too many.
        try:
            facts = record.__dict__
            try:
                message = facts["message"]  # of a formatter on the console
            except KeyError:
                message = record.getMessage()
            if (
                not 0 < len(message) <= SHORT_TEXT
                or facts["exc_info"]
                or facts["stack_info"]
                or "dkist_told" in facts  # see life_cycle.TOLD
            ):
                self._take_rare(record)
                return True
            self._extend((facts["created"], facts["levelno"], facts["name"], message, facts["threadName"], None))
            if len(self._values) > self._enough:
                self._act()
        except Exception as error:
            with suppress(Exception):
                self._take_odd(record, error)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record."""
        self.handle(record)

    def tell(
        self,
        event: str,
        message: str,
        *,
        phase: str | None = None,
        seconds: float | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Add a record about the life of the task, whatever level of records is shown."""
        with suppress(Exception):
            text = None if error is None else "".join(traceback.format_exception(error)).rstrip("\n")
            rare = (text, event, phase, None if seconds is None else round(seconds, 6))
            level = logging.INFO if error is None else logging.ERROR
            self._take(time.time(), level, LIFE_CYCLE_LOGGER, message, threading.current_thread().name, rare)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Tell when a phase begins and ends."""
        began = time.monotonic()
        self.tell("phase_started", f"{name} started", phase=name)
        try:
            yield
        finally:
            seconds = time.monotonic() - began
            self.tell("phase_ended", f"{name} ended after {seconds:.3f} s", phase=name, seconds=seconds)

    def _take_rare(self, record: logging.LogRecord) -> None:
        facts = record.__dict__
        if "dkist_told" in facts:
            return
        text = None
        if facts["exc_info"]:
            text = facts["exc_text"] or "".join(traceback.format_exception(*facts["exc_info"])).rstrip("\n")
        if facts["stack_info"]:
            text = f"{text}\n{facts['stack_info']}" if text else facts["stack_info"]
        # Some formatters leave their own idea of the message in the record if it is no plain text.
        message = facts.get("message") or record.getMessage()
        rare = (text, None, None, None) if text else None
        self._take(facts["created"], facts["levelno"], facts["name"], str(message), str(facts["threadName"]), rare)

    def _take_odd(self, record: logging.LogRecord, error: Exception) -> None:
        try:
            message = f"{record.msg!r} with {record.args!r} cannot be shown: {error!r}"
        except Exception:
            message = f"A message of {type(record.msg).__name__} cannot be shown: {type(error).__name__}"
        self._take(record.created, record.levelno, record.name, message, str(record.threadName), None)

    def _take(self, created: float, level: int, name: str, message: str, thread: str, rare: Rare | None) -> None:  # noqa: PLR0913, PLR0917 - the values of a record
        message = cut(message, LONG_TEXT)
        if rare is not None and rare[0]:
            rare = (cut(rare[0], LONG_TEXT), *rare[1:])
            self._long_characters += len(rare[0])
        self._long_characters += len(message)
        self._extend((created, level, name, message, thread, rare))
        if len(self._values) > self._enough or self._long_characters > PACKED_CHARACTERS:
            self._act()

    def _act(self) -> None:
        """Wake the pump, if that is what there is enough for, and pack what there is, unless somebody else does."""
        if self._enough < ENOUGH:
            self._enough = ENOUGH
            self.wakes.put(None)
        elif self._packing.acquire(blocking=False):
            try:
                self._pack()
            finally:
                self._packing.release()

    def _pack(self) -> None:
        size = len(self._values)
        if not size:
            return
        self._long_characters = 0
        values = self._values[:size]
        first = self._next
        self._next += size // VALUES
        del self._values[:size]
        try:
            frame = packed_records(first, values)
        except Exception:  # whatever is in them; that they are missing shows by their numbers
            return
        self._packed.append(frame)
        self._packed_bytes += len(frame.payload)
        while self._packed_bytes > WAITING_BYTES:
            self._packed_bytes -= len(self._packed.popleft().payload)

    # ---- the other end -----------------------------------------------------------------------------------------------
    def take_out(self) -> list[Frame]:
        """Return the oldest records, as many as make up a good load for the pipe; none if there are none."""
        taken: list[Frame] = []
        size = 0
        with self._packing:
            if not self._packed:
                self._pack()
            while self._packed and size < LOAD_BYTES:
                taken.append(self._packed.popleft())
                size += len(taken[-1].payload)
            self._packed_bytes -= size
        return taken

    def await_records(self) -> bool:
        """Ask to be woken by the next record; return whether there is none yet."""
        self._enough = 0
        if self._values or self._packed:
            self._enough = ENOUGH
        return self._enough == 0

    def end(self) -> Frame:
        """Return the frame that says that no more records come."""
        return Frame(END, 0, self.total + 1, b"")

    @property
    def total(self) -> int:
        """Number of records until now."""
        return self._next - 1 + len(self._values) // VALUES

    def tell_nothing(self) -> None:
        """Ignore from now on what is told. No lock is touched: who held it may not exist in this process."""
        self.tell = _ignore  # type: ignore[method-assign]


def _ignore(*_: object, **__: object) -> None:
    """Take the place of a method."""
