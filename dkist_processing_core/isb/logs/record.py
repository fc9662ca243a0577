"""
One log record: what is kept of it in the task, and the line of JSON that a consumer receives.

Runs in: task environment. Source of the keys: ``docs/reference/logging.rst``.
"""

import json
import logging
import re
import threading
import time
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from dkist_processing_core.common.redaction import redactor

__all__ = ["Encoder", "Event", "Row", "event_row", "is_event", "row_of", "seconds_of", "size_of"]

SCHEMA_VERSION = 1
FAR_FUTURE = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
# Longer texts are truncated.
MOST_CHARACTERS = 32_000
# Approximate memory of a row, without its texts.
ROW_BYTES = 250
CACHED = 256
EVENT_LOGGER = "dkist_processing_core.task"
SURROGATES = re.compile("[\ud800-\udfff]")

# Event, phase, duration in seconds.
Event = tuple[str | None, str | None, float | None]
# Level, its name, logger, thread, traceback, event.
Origin = tuple[int, str, str, str, str | None, Event | None]
# Time, message, and the part that many records have in common.
Row = tuple[float, str, Origin]

_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode


def is_event(record: logging.LogRecord) -> bool:
    """Return whether this is a record of `TaskBase` that is already sent as an event."""
    return "dkist_listened" in record.__dict__


def row_of(record: logging.LogRecord) -> Row:
    """Return the parts of a record that are kept."""
    text = None
    if record.exc_info or record.stack_info:
        parts = [record.exc_text or "".join(traceback.format_exception(*record.exc_info))] if record.exc_info else []
        text = truncate("\n".join(part.rstrip("\n") for part in (*parts, record.stack_info) if part))
    # Code that creates a record itself may have set these to any object, even to one that cannot be hashed.
    names = (str(record.levelname), str(record.name), str(record.threadName or ""))
    origin = (record.levelno, *names, text, None)
    return record.created, truncate(_message_of(record)), origin


def _message_of(record: logging.LogRecord) -> str:
    try:
        # A formatter, such as that of the console, stores the message in the record.
        return str(record.__dict__.get("message") or record.getMessage())
    except Exception as error:
        what = repr(record.msg) if isinstance(record.msg, str) else f"A message of {type(record.msg).__name__}"
        return f"{what} cannot be formatted: {''.join(traceback.format_exception_only(error)).rstrip()}"


def event_row(message: str, event: Event | None = None, error: BaseException | None = None) -> Row:
    """Return the row of an event in the life cycle of the task; without an event, that of a note about the log."""
    text = None if error is None else truncate("".join(traceback.format_exception(error)).rstrip("\n"))
    level = logging.ERROR if error is not None else logging.INFO if event else logging.WARNING
    origin = (level, logging.getLevelName(level), EVENT_LOGGER, threading.current_thread().name, text, event)
    return time.time(), truncate(message), origin


def seconds_of(row: Row) -> float:
    """Return the time of a row; the present if code that created the record set something else."""
    is_time = isinstance(row[0], (int, float)) and 0 < row[0] < FAR_FUTURE
    return row[0] if is_time else time.time()


def size_of(row: Row) -> int:
    """Return the approximate size of a row in bytes."""
    return ROW_BYTES + len(row[1]) + len(row[2][4] or "")


def truncate(text: str) -> str:
    """Return a text; if it is too long, its beginning and end with a note between them."""
    if len(text) <= MOST_CHARACTERS:
        return text
    note = f" [... {len(text) - MOST_CHARACTERS} characters truncated ...] "
    return f"{text[: MOST_CHARACTERS * 3 // 4]}{note}{text[-MOST_CHARACTERS // 4 :]}"


class Encoder:
    """Encodes records as lines of JSON, all with the same metadata, whose keys become keys of the line."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = metadata
        self._redact = redactor()
        # Most records differ only in number, time and message.
        self._cached_rest = lru_cache(CACHED)(self._rest)

    def line(self, sequence: int, row: Row, missing: int | None = None) -> str:
        """Return the line of a record, or of the note that ``missing`` records were dropped."""
        _, message, origin = row
        moment = datetime.fromtimestamp(seconds_of(row), UTC).isoformat(timespec="microseconds")[:-6]
        rest = (self._rest if origin[4] else self._cached_rest)(origin, missing)
        line = (
            f'{{"sequence": {sequence}, "timestamp": "{moment}Z", "message": {_encode(self._redact(message))}, {rest}\n'
        )
        # A lone surrogate is shown as in Python's standard error stream. The backslash is escaped for JSON.
        return line if line.isascii() else SURROGATES.sub(lambda found: f"\\\\u{ord(found[0]):04x}", line)

    def _rest(self, origin: Origin, missing: int | None) -> str:
        level, level_name, logger, thread, text, event = origin
        name, phase, seconds = event or (None, None, None)
        values = {"event": name, "phase": phase, "durationSeconds": seconds}
        values |= {"level": level_name, "levelNumber": level, "logger": logger, "threadName": thread}
        values |= {"traceback": text and self._redact(text), "droppedRecords": missing, "schemaVersion": SCHEMA_VERSION}
        return _encode({**values, **self._metadata})[1:]
