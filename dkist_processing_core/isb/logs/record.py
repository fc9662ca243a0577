"""
One log record: what is taken from it in the task, and the line of JSON that a consumer receives.

Runs in: task environment. Source of the keys: ``docs/logging.rst``.
"""

import json
import logging
import re
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any

__all__ = ["Encoder", "Event", "Row", "event_row", "note_row", "row_of", "seconds_of", "size_of"]

SCHEMA_VERSION = 1
FAR_FUTURE = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
# Longer texts are truncated.
MOST_CHARACTERS = 32_000
SHORT_CHARACTERS = 1_000
# About what a row takes in memory beyond its texts.
ROW_BYTES = 250
CACHED = 256
EVENT_LOGGER = "dkist_processing_core.task"
NOTE_LOGGER = "dkist_processing_core.isb.logs"
# Marks the records that `TaskBase` logs about events, which are sent as events already.
LISTENED = ("dkist_listened", "dkist_told")
SURROGATES = re.compile("[\ud800-\udfff]")

# Event, phase, duration in seconds.
Event = tuple[str, str | None, float | None]
# Time, level, its name, logger, message, thread, traceback, event.
Row = tuple[float, int, str, str, str, str, str | None, Event | None]

# Hundreds of thousands of records a second are possible, so a row is made in one go. A record has a message once a
# formatter has handled it, as for the console; most records have neither a traceback nor a stack.
_plain_row = itemgetter("created", "levelno", "levelname", "name", "message", "threadName", "exc_info", "stack_info")
_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode


def row_of(record: logging.LogRecord) -> Row | None:
    """Return what is kept of a record, None if it is sent as an event. It raises nothing, whatever the record is."""
    values = record.__dict__
    try:
        if "message" not in values:
            values = {**values, "message": record.getMessage()}
        row: Row = _plain_row(values)
        is_plain = row[6] is None and row[7] is None and 0 < len(row[4]) < SHORT_CHARACTERS
        if is_plain and LISTENED[0] not in values and LISTENED[1] not in values:
            return row
        return None if any(each in values for each in LISTENED) else _full_row(record)
    except Exception as error:
        with suppress(Exception):
            text = f"{record.msg!r} with {record.args!r} cannot be formatted: {error!r}"
            return (*_plain_row({**values, "message": truncate(text)})[:6], None, None)
        text = f"A message of {type(record.msg).__name__} cannot be formatted: {type(error).__name__}"
        return (record.created, record.levelno, record.levelname, record.name, text, "", None, None)


def _full_row(record: logging.LogRecord) -> Row:
    parts = []
    if record.exc_info:
        parts.append(record.exc_text or "".join(traceback.format_exception(*record.exc_info)).rstrip("\n"))
    if record.stack_info:
        parts.append(record.stack_info)
    # Some formatters leave nothing useful in the record if the message is no plain text.
    message = truncate(str(record.__dict__.get("message") or record.getMessage()))
    values = _plain_row({**record.__dict__, "message": message})
    return (*values[:6], truncate("\n".join(parts)) if parts else None, None)


def event_row(message: str, event: Event, error: BaseException | None = None) -> Row:
    """Return the row of an event in the life cycle of the task."""
    text = None if error is None else truncate("".join(traceback.format_exception(error)).rstrip("\n"))
    level, name = (logging.INFO, "INFO") if error is None else (logging.ERROR, "ERROR")
    return time.time(), level, name, EVENT_LOGGER, truncate(message), threading.current_thread().name, text, event


def note_row(message: str) -> Row:
    """Return the row of a note about the log itself."""
    return time.time(), logging.WARNING, "WARNING", NOTE_LOGGER, message, threading.current_thread().name, None, None


def size_of(row: Row) -> int:
    """Return about how many bytes a row takes."""
    return ROW_BYTES + len(row[4]) + (len(row[6]) if row[6] else 0)


def seconds_of(row: Row) -> float:
    """Return the time of a row; whoever makes a record may have set it to anything."""
    is_time = isinstance(row[0], (int, float)) and 0 < row[0] < FAR_FUTURE
    return row[0] if is_time else time.time()


def truncate(text: str) -> str:
    """Return a text, and if it is too long its beginning and end with a note between them."""
    if len(text) <= MOST_CHARACTERS:
        return text
    note = f" [... {len(text) - MOST_CHARACTERS} characters truncated ...] "
    return f"{text[: MOST_CHARACTERS * 3 // 4]}{note}{text[-MOST_CHARACTERS // 4 :]}"


class Encoder:
    """
    Encodes records as lines of JSON.

    Parameters
    ----------
    metadata
        What is the same for all records of the task, by the keys of the line.
    """

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = metadata
        # Most records differ in number, time and message only.
        self._cached_rest = lru_cache(CACHED)(self._rest)

    def line(self, sequence: int, row: Row, missing: int | None = None) -> str:
        """Return the line of a record, or of the note that as many records as ``missing`` were dropped."""
        _, level, level_name, logger, message, thread, text, event = row
        time_text = datetime.fromtimestamp(seconds_of(row), UTC).isoformat(timespec="microseconds")[:-6]
        rest = self._cached_rest if text is None else self._rest
        line = (
            f'{{"sequence": {sequence}, "timestamp": "{time_text}Z", "message": {_encode(str(message))}, '
            f"{rest(level, str(level_name), str(logger), str(thread), text, event, missing)}\n"
        )
        # Half a surrogate pair is shown as Python's standard error stream shows it; this is the inside of JSON.
        return line if line.isascii() else SURROGATES.sub(lambda found: f"\\\\u{ord(found[0]):04x}", line)

    def _rest(  # noqa: PLR0913, PLR0917 - hashable values, for the cache
        self,
        level: int,
        level_name: str,
        logger: str,
        thread: str,
        text: str | None,
        event: Event | None,
        missing: int | None,
    ) -> str:
        name, phase, seconds = event or (None, None, None)
        values = {
            "level": level_name,
            "levelNumber": level,
            "logger": logger,
            "threadName": thread,
            "event": name,
            "phase": phase,
            "durationSeconds": seconds,
            "traceback": text,
            "droppedRecords": missing,
            "schemaVersion": SCHEMA_VERSION,
        }
        return _encode(values | dict(self._metadata))[1:]
