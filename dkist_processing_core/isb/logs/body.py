"""
What a consumer on the interservice bus gets of one log record.

Runs in: task environment, in the log shipper. Source of the keys: ``docs/logging.rst``.
"""

import json
import marshal
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from dkist_processing_core.isb.logs.record import Frame, Rare

__all__ = ["SCHEMA_VERSION", "Record", "body", "unpacked_records"]

SCHEMA_VERSION = 1
FAR_FUTURE = datetime(9999, 1, 1, tzinfo=UTC).timestamp()


class Record(NamedTuple):
    """One record, as the shipper has it."""

    sequence: int
    seconds: float
    level: int
    level_name: str
    logger: str
    message: str
    thread: str
    rare: Rare | None = None


def unpacked_records(frame: Frame) -> list[Record]:
    """Return the records of a frame."""
    names, rows = marshal.loads(frame.payload)  # noqa: S302 - from our own process
    return [
        Record(sequence, _sane(seconds), level, names[level], logger, message, thread, rare or None)
        for sequence, (seconds, level, logger, message, thread, rare, _) in enumerate(rows, start=frame.first)
    ]


def body(record: Record, facts: Mapping[str, Any], dropped: int | None = None) -> bytes:
    """
    Return what a consumer gets of one record.

    Parameters
    ----------
    record
        The record.
    facts
        What is the same for all records of the task, by the keys of the message.
    dropped
        Number of records that this one stands for, if that is what it tells.
    """
    traceback, event, phase, seconds = record.rare or (None, None, None, None)
    text = json.dumps(
        {
            "schemaVersion": SCHEMA_VERSION,
            "sequence": record.sequence,
            "timestamp": _timestamp(record.seconds),
            "event": event,
            "phase": phase,
            "durationSeconds": seconds,
            "level": record.level_name,
            "levelNumber": record.level,
            "logger": record.logger,
            "message": str(record.message),
            "traceback": traceback,
            "droppedRecords": dropped,
            **facts,
            "threadName": record.thread,
        },
        ensure_ascii=False,
    )
    try:
        return text.encode()
    except UnicodeEncodeError:
        # Half a surrogate pair is no text to many parsers. It is shown as Python's standard error stream shows it; the
        # backslash is doubled because this is the inside of a JSON string.
        return "".join(each if not "\ud800" <= each <= "\udfff" else f"\\\\u{ord(each):04x}" for each in text).encode()


def _timestamp(seconds: float) -> str:
    """Return a time as ISO 8601, in UTC, to the microsecond."""
    moment = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
    return f"{moment.isoformat(timespec='microseconds')}Z"


def _sane(seconds: float) -> float:
    """Return a time that can be told; whoever makes a record may put any number there."""
    return seconds if isinstance(seconds, (int, float)) and 0 < seconds < FAR_FUTURE else time.time()
