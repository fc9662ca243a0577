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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from operator import itemgetter
from queue import SimpleQueue

from dkist_processing_core.isb.logs.record import END, Frame, Rare, Row, cut, packed_records

__all__ = ["LogIntake"]

# What may wait in the process of the task for the pipe to the shipper. The shipper holds more than that.
WAITING_BYTES = 8 << 20
# What the pump takes out at once.
LOAD_BYTES = 1 << 19
# So many records are packed together, while they are still in the processor's cache.
PACKED_RECORDS = 200
# Longer texts are cut; what is shorter than the second need not be looked at twice.
LONG_TEXT = 32_000
SHORT_TEXT = 1_000
# So many characters of longer texts are packed without waiting for more records.
PACKED_CHARACTERS = 200_000

LIFE_CYCLE_LOGGER = "dkist_processing_core.task"

# A hundred thousand records per second must not be felt, so a row is made in one go. A record has a message once a
# formatter has had it, as for the console. Where there is a traceback or a stack, the row is made otherwise.
_row = itemgetter("created", "levelno", "name", "message", "threadName", "exc_info", "stack_info")


class LogIntake:
    """
    Packs records and holds them, up to a limit, until the pump takes them away.

    Above the limit the oldest ones are dropped. Each record has a number, from 1 on in the order in which they came, so
    whoever gets them sees by a gap how many are missing. Nothing is formatted but the message, and not even that if a
    handler on the console has done so.

    It is no handler of a logger. One on the root logger would be in the way: it keeps `logging.basicConfig` from doing
    anything, and the records that nobody shows from `logging.lastResort`; it gets nothing of a logger that does not
    propagate, and ``basicConfig(force=True)`` and `logging.config` throw it out.
    """

    def __init__(self) -> None:
        # Records come in by one atomic operation from any thread. They are numbered and packed by whoever gets the
        # lock; nobody who logs ever waits for it, so it does not matter in what a signal's handler logs.
        self._rows: list[Row] = []
        self._packing = threading.Lock()
        self._packed: deque[Frame] = deque()
        self._packed_bytes = 0
        self._long_characters = 0
        self._next = 1
        self._enough = PACKED_RECORDS
        # Its put may be interrupted by another one of the same thread, which cannot be said of an Event's set.
        self.wakes: SimpleQueue[None] = SimpleQueue()
        self._stop: Callable[[], None] = _ignore

    def listen(self) -> None:
        """Take every record from now on, after the handlers that show it."""
        call_handlers = logging.Logger.callHandlers
        rows, append = self._rows, self._rows.append
        is_listening = True

        def call_handlers_and_take(logger: logging.Logger, record: logging.LogRecord) -> None:
            call_handlers(logger, record)
            if not is_listening:
                return
            # Nothing is called here that need not be, and whatever is wrong with a record, this does not raise.
            try:
                facts = record.__dict__
                try:
                    row = _row(facts)
                except KeyError:
                    row = _row({**facts, "message": record.getMessage()})
                if row[5] or row[6] or not row[3] or len(row[3]) > SHORT_TEXT or "dkist_told" in facts:
                    self._take_rare(record)
                    return
                append(row)
                if len(rows) >= self._enough:
                    self._act()
            except Exception as error:
                with suppress(Exception):
                    self._take_odd(record, error)

        def stop() -> None:
            nonlocal is_listening
            is_listening = False
            # Unless somebody else has put something on top of it meanwhile.
            if logging.Logger.callHandlers is call_handlers_and_take:
                logging.Logger.callHandlers = call_handlers  # type: ignore[method-assign]

        logging.Logger.callHandlers = call_handlers_and_take  # type: ignore[method-assign, assignment]
        self._stop = stop

    def stop(self) -> None:
        """Take nothing any more."""
        self._stop()

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
        if "dkist_told" in facts:  # see life_cycle.TOLD
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
        self._rows.append((created, level, name, message, thread, rare, None))
        if len(self._rows) >= self._enough or self._long_characters > PACKED_CHARACTERS:
            self._act()

    def _act(self) -> None:
        """Wake the pump, if that is what there is enough for, and pack what there is, unless somebody else does."""
        if self._enough < PACKED_RECORDS:
            self._enough = PACKED_RECORDS
            self.wakes.put(None)
        elif self._packing.acquire(blocking=False):
            try:
                self._pack()
            finally:
                self._packing.release()

    def _pack(self) -> None:
        rows = self._rows[:]
        if not rows:
            return
        self._long_characters = 0
        first = self._next
        self._next += len(rows)
        del self._rows[: len(rows)]
        try:
            frame = packed_records(first, rows)
        except Exception:  # whatever is in them; that they are missing shows by their numbers
            return
        self._packed.append(frame)
        before = self._packed_bytes
        self._packed_bytes += len(frame.payload)
        if before <= WAITING_BYTES // 2 < self._packed_bytes:
            self.wakes.put(None)
        while self._packed_bytes > WAITING_BYTES:
            self._packed_bytes -= len(self._packed.popleft().payload)

    # ---- the other end -----------------------------------------------------------------------------------------------
    def loads(self) -> Iterator[list[Frame]]:
        """
        Yield what there is, the oldest records first, in loads of a good size for the pipe.

        Records that come meanwhile are left for the next time, unless they are many. Who took them one by one would
        have the interpreter's lock change hands for each of them.
        """
        with self._packing:
            self._pack()
        while load := self._load():
            yield load

    def _load(self) -> list[Frame]:
        taken: list[Frame] = []
        size = 0
        with self._packing:
            while self._packed and size < LOAD_BYTES:
                taken.append(self._packed.popleft())
                size += len(taken[-1].payload)
            self._packed_bytes -= size
        return taken

    def await_records(self) -> bool:
        """Ask to be woken by the next record; return whether there is none yet."""
        self._enough = 0
        if self._rows or self._packed:
            self._enough = PACKED_RECORDS
        return self._enough == 0

    def end(self) -> Frame:
        """Return the frame that says that no more records come."""
        return Frame(END, 0, self.total + 1, b"")

    @property
    def total(self) -> int:
        """Number of records until now."""
        return self._next - 1 + len(self._rows)

    def tell_nothing(self) -> None:
        """Ignore from now on what is told. No lock is touched: who held it may not exist in this process."""
        self.tell = _ignore  # type: ignore[method-assign]


def _ignore(*_: object, **__: object) -> None:
    """Take the place of a method."""
