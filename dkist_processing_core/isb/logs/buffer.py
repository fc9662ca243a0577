"""
The log records that wait to be sent, bounded in number and size.

Runs in: task environment.
"""

import logging
import threading
from collections import deque

from dkist_processing_core.isb.logs.record import Row, event_row, is_event, row_of, size_of

__all__ = ["Buffer"]

MOST_RECORDS = 50_000
MOST_BYTES = 16 << 20


class Buffer:
    """
    Holds records in their order, and drops the oldest above a limit.

    Records are numbered from 1 in the order of their arrival, so that a gap shows how many are missing. ``total`` is
    the last number. Any thread may add a record, and so may a signal handler that interrupts another addition; hence
    the reentrant lock. Nothing is added while ``is_open`` is false.
    """

    def __init__(self) -> None:
        self.is_open = True
        self.total = 0
        self._rows: deque[Row] = deque()
        self._bytes = 0
        self._missing = 0
        self._lock = threading.RLock()

    def add_record(self, record: logging.LogRecord) -> None:
        """Add the parts of a log record that are sent. It never raises, whatever the record contains."""
        try:
            if self.is_open and not is_event(record):
                self.add(row_of(record))
        except Exception as error:
            self.add(event_row(f"A log record could not be read: {type(error).__name__}"))

    def add(self, row: Row) -> None:
        """Add a row."""
        if not self.is_open:
            return
        with self._lock:
            self._rows.append(row)
            self.total += 1
            self._bytes += size_of(row)
            while self._bytes > MOST_BYTES or len(self._rows) > MOST_RECORDS:
                self._bytes -= size_of(self._rows.popleft())
                self._missing += 1

    def count_as_missing(self, records: int) -> None:
        """Count records that will not be sent; the next `take` returns their number."""
        with self._lock:
            self._missing += records

    def take(self, most_records: int, most_bytes: int) -> tuple[int, int, list[Row]]:
        """Remove the oldest rows; return the number of the first one, how many are missing before it, and the rows."""
        rows: list[Row] = []
        size = 0
        with self._lock:
            first = self.total - len(self._rows) + 1
            while self._rows and len(rows) < most_records and size < most_bytes:
                rows.append(self._rows.popleft())
                size += size_of(rows[-1])
            self._bytes -= size
            missing = self._missing if rows else 0
            self._missing -= missing
        return first, missing, rows
