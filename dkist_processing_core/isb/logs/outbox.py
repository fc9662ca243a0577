"""
The records that wait to be sent to the interservice bus, and what became of the others.

Runs in: task environment, in the log shipper: one thread of it adds records, the other one takes messages. What cannot
be sent is held up to a limit; then the oldest records go. They are counted by the numbers of the records, wherever on
the way they were lost, and a message tells how many they were in their place.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from dkist_processing_core.isb.logs.body import Record, body, unpacked_records
from dkist_processing_core.isb.logs.record import Frame, Status, packed_records

__all__ = ["Message", "Outbox"]

# What is held while the broker is away, in the form in which it came, which is as compact as it gets.
HELD_RECORDS = 200_000
HELD_BYTES = 32 << 20

# Of the module logging, which takes long to import.
WARNING, ERROR = 30, 40
# What our own records say where they come from.
LOGGER = "dkist_processing_core.isb.logs.shipper"
THREAD = "log shipper"

OVERFLOW = "more records than could be sent"
NO_TIME = "the task ended before they could be sent"


class Message(NamedTuple):
    """One message, as it is sent and, if it is not confirmed, sent again."""

    sequence: int
    seconds: float
    body: bytes
    is_of_task: bool = True


class Outbox:
    """
    Holds what is to be sent; see the module.

    Parameters
    ----------
    most_records, most_bytes
        How much is held.

    Attributes
    ----------
    run : str
        What tells the records of this run of a task from those of all others.
    is_ended : bool
        Whether no more records come.
    is_time_over : bool
        Whether what has not been sent by now will not be sent.
    reason : str or None
        Why records are not sent, if something is wrong.
    """

    def __init__(self, most_records: int = HELD_RECORDS, most_bytes: int = HELD_BYTES) -> None:
        self.run = os.urandom(16).hex()
        self.is_ended = False
        self.is_time_over = False
        self.reason: str | None = None
        self._facts: Mapping[str, Any] = {}
        self._changing = threading.Lock()
        self._held: deque[Frame] = deque()
        self._held_records = 0
        self._held_bytes = 0
        self._most_records = most_records
        self._most_bytes = most_bytes
        self._came = 0
        self._records: deque[Record] = deque()
        self._again: deque[Message] = deque()
        self._taken = 0
        self._confirmed = 0
        self._dropped = 0
        self._why_dropped: str | None = None

    # ---- what comes in -----------------------------------------------------------------------------------------------
    def set_facts(self, facts: Mapping[str, Any]) -> None:
        """Note what is the same for all records."""
        self._facts = facts

    def add(self, frame: Frame) -> None:
        """Hold some records, at the cost of the oldest if there is no room."""
        with self._changing:
            self._held.append(frame)
            self._held_records += frame.records
            self._held_bytes += len(frame.payload)
            self._came = frame.first + frame.records - 1
            while self._held_records > self._most_records or self._held_bytes > self._most_bytes:
                self._next_frame()
                self._why_dropped = self.reason

    def add_last_words(self, text: str) -> None:
        """Add a record of our own after all those of the task."""
        self.add(packed_records(self._came + 1, [(time.time(), ERROR, LOGGER, text, THREAD, None, None)]))

    def end(self, total: int | None) -> None:
        """
        Note that no more records come.

        Parameters
        ----------
        total
            How many there were, or None if the task did not say.
        """
        with self._changing:
            if total is not None:
                self._came = total
            self.is_ended = True

    def hold_nothing(self) -> None:
        """Drop what is held and what will come, since it cannot be sent."""
        with self._changing:
            self._most_records = 0
            while self._held:
                self._next_frame()
            self._why_dropped = self.reason

    def _next_frame(self) -> Frame:
        frame = self._held.popleft()
        self._held_records -= frame.records
        self._held_bytes -= len(frame.payload)
        return frame

    # ---- what goes out -----------------------------------------------------------------------------------------------
    def take(self) -> Message | None:
        """Return the next message to send, or None if there is none for now."""
        if self._again:
            return self._again.popleft()
        if self.is_time_over:
            self._give_up()
        with self._changing:
            while self._held and not self._records:
                self._unpack(self._next_frame())
            is_rest_lost = self.is_ended and self._taken < self._came
        if not self._records:
            return self._gap(self._came) if is_rest_lost else None
        record = self._records[0]
        if record.sequence > self._taken + 1:
            return self._gap(record.sequence - 1)
        try:
            message = Message(record.sequence, record.seconds, body(record, self._facts))
        except Exception as error:  # one odd record must not keep back all the others
            self._why_dropped = f"{type(error).__name__}: {error}"
            message = self._gap(record.sequence)
        # In this order, since the other thread must not take a record that is neither here nor there for lost.
        self._taken = record.sequence
        self._records.popleft()
        return message

    def _unpack(self, frame: Frame) -> None:
        try:
            self._records.extend(unpacked_records(frame))
        except Exception as error:  # some odd records must not keep back all the others
            self._why_dropped = f"{type(error).__name__}: {error}"

    def _give_up(self) -> None:
        """Drop what was not sent yet, so that its number is all that is left to tell."""
        self.hold_nothing()
        self._records.clear()
        self._why_dropped = self.reason or NO_TIME

    def _gap(self, until: int) -> Message:
        """Return the message that stands in the place of lost records, with the number of the last of them."""
        lost = until - self._taken
        self._taken = until
        self._dropped += lost
        reason = self._why_dropped or OVERFLOW
        self._why_dropped = None
        text = f"{lost} log records of the task were dropped: {reason}"
        record = Record(until, time.time(), WARNING, "WARNING", LOGGER, text, THREAD)
        return Message(until, record.seconds, body(record, self._facts, dropped=lost), is_of_task=False)

    def take_again(self, messages: list[Message]) -> None:
        """Hold messages that were sent and not confirmed, before all others."""
        self._again.extendleft(reversed(messages))

    def confirm(self, message: Message) -> None:
        """Note that the broker has a message."""
        self._confirmed += message.is_of_task

    def refuse(self, message: Message, reason: str) -> None:
        """Note that the broker does not want a message."""
        self._dropped += message.is_of_task
        self.reason = reason

    # ---- what is known -----------------------------------------------------------------------------------------------
    @property
    def is_half_full(self) -> bool:
        """Whether it is time to hurry."""
        return 2 * self._held_records > self._most_records or 2 * self._held_bytes > self._most_bytes

    @property
    def has_more(self) -> bool:
        """Whether there is something to send."""
        return bool(self._again or self._records or self._held or (self.is_ended and self._taken < self._came))

    def status(self) -> Status:
        """Return what is known by now."""
        with self._changing:
            held = self._held_records + len(self._records)
            dropped = self._dropped + max(0, self._came - self._taken - held)
            waiting = max(0, self._came - self._confirmed - dropped)
            return Status(self._confirmed, waiting, dropped, self.reason, self.is_ended)
