"""
What a log record is between the process of the task and the log shipper, and what is told back.

Runs in: task environment, in both of these processes. Records are plain values that `marshal` can write, since that
costs the task a tenth of a microsecond. Both run the same interpreter, so the format needs no version.
"""

import marshal
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

__all__ = [
    "END",
    "FACTS",
    "RECORDS",
    "STATUS_BYTES",
    "Frame",
    "Rare",
    "Row",
    "Status",
    "cut",
    "header",
    "packed_facts",
    "packed_records",
    "packed_status",
    "read_frames",
    "unpacked_facts",
    "unpacked_status",
]

# Kinds of frame in the pipe: what is known of the task, some of its records, and that there are no more.
FACTS, RECORDS, END = 1, 2, 3
HEADER = struct.Struct("!BIQI")

# Less than what a pipe takes at once (PIPE_BUF), and a whole number of them fits into one.
STATUS_BYTES = 2048
REASON_CHARACTERS = 400

# Traceback, event, phase, and duration in seconds; most records have none of them.
Rare = tuple[str | None, str | None, str | None, float | None]
# A record: seconds since the epoch, level, logger, message, thread, what is rare if it has it, and nothing.
Row = tuple[float, int, str, str, str, Rare | None, None]


class Frame(NamedTuple):
    """
    One frame of the pipe.

    Attributes
    ----------
    kind
        One of `FACTS`, `RECORDS` and `END`.
    records
        Number of records in it.
    first
        Number of the first of them; in an `END`, the number that the next one would have had.
    payload
        The rest.
    """

    kind: int
    records: int
    first: int
    payload: bytes


def header(frame: Frame) -> bytes:
    """Return what stands before the payload of a frame in the pipe."""
    kind, records, first, payload = frame
    return HEADER.pack(kind, records, first, len(payload))


def read_frames(read: Callable[[int], bytes]) -> Iterator[Frame]:
    """
    Yield frame after frame until there are no more bytes; what is cut off in the middle is left out.

    Parameters
    ----------
    read
        Returns as many bytes as it is told, fewer at the end.
    """
    while True:
        head = read(HEADER.size)
        if len(head) < HEADER.size:
            return
        kind, records, first, size = HEADER.unpack(head)
        payload = read(size)
        if len(payload) < size:
            return
        yield Frame(kind, records, first, payload)


def packed_facts(facts: Mapping[str, Any]) -> Frame:
    """Return the frame of what is the same for all records, by the keys of the message."""
    return Frame(FACTS, 0, 0, marshal.dumps({key: _plain(value) for key, value in facts.items()}))


def unpacked_facts(frame: Frame) -> dict[str, Any]:
    """Return what `packed_facts` was given."""
    facts: dict[str, Any] = marshal.loads(frame.payload)  # noqa: S302 - from our own process
    return facts


def packed_records(first: int, rows: list[Row]) -> Frame:
    """
    Return the frame of some records.

    Parameters
    ----------
    first
        Number of the first record.
    rows
        The records.
    """
    # The task has this module; the shipper is ready sooner without it.
    import logging

    # The name of a level can be chosen, and is known in the process of the task only.
    names = {level: logging.getLevelName(level) for level in {row[1] for row in rows}}
    try:
        payload = marshal.dumps((names, rows))
    except ValueError:  # such as a name that is no text, or of a class derived from it
        payload = marshal.dumps((_plain(names), [_plain(row) for row in rows]))
    return Frame(RECORDS, len(rows), first, payload)


class Status(NamedTuple):
    """
    What the log shipper knows of its work.

    Attributes
    ----------
    confirmed
        Number of records that the broker has confirmed.
    waiting
        Number of those that are still to be sent or confirmed.
    dropped
        Number of those that are lost.
    reason
        Why records wait or are lost, if something is wrong.
    is_last
        Whether it was told after the last record had arrived.
    """

    confirmed: int = 0
    waiting: int = 0
    dropped: int = 0
    reason: str | None = None
    is_last: bool = False


def packed_status(status: Status) -> bytes:
    """Return a status as bytes, of which a pipe takes all or none."""
    reason = status.reason and cut(status.reason, REASON_CHARACTERS).encode(errors="replace").decode()
    return marshal.dumps(tuple(status._replace(reason=reason))).ljust(STATUS_BYTES, b"\0")


def unpacked_status(read: bytes) -> Status:
    """Return the last status of those that were read."""
    return Status(*marshal.loads(read[-STATUS_BYTES:]))  # noqa: S302 - from our own process


def cut(text: str, limit: int) -> str:
    """Return the text, and if it is longer than the limit its beginning and end with a mark between them."""
    if len(text) <= limit:
        return text
    mark = f" [... {len(text) - limit} characters cut ...] "
    return f"{text[: limit - limit // 4]}{mark}{text[-(limit // 4) :]}"


def _plain(value: object) -> Any:
    """Return a value as one of the types that `marshal` can write."""
    if isinstance(value, tuple):
        return tuple(_plain(each) for each in value)
    if isinstance(value, dict):
        return {_plain(key): _plain(each) for key, each in value.items()}
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return int(value) if isinstance(value, int) else float(value)
    return value if value is None or isinstance(value, bool) else str(value)
