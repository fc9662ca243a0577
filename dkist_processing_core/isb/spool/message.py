"""
One message in the spool folder: its file, and the reasons why the broker has refused it.

Runs in: worker, DAG processor, terminal.
"""

import fcntl
import hashlib
import logging
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dkist_processing_core.isb.envelope import Envelope
from dkist_processing_core.isb.spool.folder import prepare, spool_folder, sync

__all__ = [
    "LARGEST_BYTES",
    "MESSAGE",
    "PART",
    "REASON",
    "REASON_SUFFIX",
    "SET_ASIDE",
    "TRIES",
    "SpooledMessage",
    "note_refusal",
    "opened_file",
    "read",
    "remove",
    "write",
]

logger = logging.getLogger(__name__)

SET_ASIDE = "undeliverable"
TRIES = 5
REASON_SUFFIX = ".reason"
MESSAGE = re.compile(r"[0-9]{20}-[0-9a-f]{32}\.json")
REASON = re.compile(r"[0-9]{20}-[0-9a-f]{32}\.reason")
PART = re.compile(r"\.([0-9]{20}-[0-9a-f]{32}\.json)\.[0-9a-f]{8}\.part")
MESSAGE_ID = re.compile("[0-9a-f]{32}")
# RabbitMQ may accept more, but there must be a limit to what is read into memory.
LARGEST_BYTES = 4 * 2**20
LONGEST_REASON = 1000
# Limit of the last reasons together, with their times. A character takes at most six bytes.
LARGEST_REASONS = 8 * TRIES * LONGEST_REASON


@dataclass(frozen=True)
class SpooledMessage:
    """
    A file in the spool folder with its message.

    Attributes
    ----------
    file
        Path of the file.
    envelope
        The message; None if the file is damaged.
    damage
        What is wrong with a damaged file.
    is_readable
        Whether the file could be read. If not, the reason may be temporary, such as a missing permission.
    refusals
        Time and reason of the last refusals.
    """

    file: Path
    envelope: Envelope | None
    damage: str = ""
    is_readable: bool = True
    refusals: tuple[str, ...] = ()

    @property
    def spooled_at(self) -> datetime:
        """Time at which the file was written, according to its name."""
        return datetime.fromtimestamp(int(self.file.name.partition("-")[0]) / 1e9, UTC)

    @property
    def is_set_aside(self) -> bool:
        """Whether the message was refused so often that it is sent only on request."""
        return self.file.parent.name == SET_ASIDE


def write(envelope: Envelope) -> Path:
    """
    Write a message to the spool folder and return the file. Its name begins with the time, so names sort by age.

    The file and its name are on the disk when this returns. Until then the file has the name of a part and is locked. A
    part without a lock was left behind by a dead writer; `contents` gives it its final name.
    """
    folder = prepare(spool_folder())
    message_id = envelope.message_id
    if not MESSAGE_ID.fullmatch(message_id):
        message_id = hashlib.sha256(message_id.encode(errors="backslashreplace")).hexdigest()[:32]
    file = folder / f"{time.time_ns():020d}-{message_id}.json"
    part = folder / f".{file.name}.{os.urandom(4).hex()}.part"
    try:
        with part.open("xb") as opened:
            with suppress(OSError):
                fcntl.flock(opened, fcntl.LOCK_EX)
            opened.write(envelope.to_json().encode() + b"\n")
            opened.flush()
            os.fsync(opened.fileno())
            part.rename(file)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    sync(folder)
    return file


def read(file: Path) -> SpooledMessage | None:
    """Return the message in a file; None if another process has sent it in the meantime."""
    refusals = _refusals(file)
    try:
        with opened_file(file) as descriptor:
            if (size := os.fstat(descriptor).st_size) > LARGEST_BYTES:
                damage = f"the file has {size} bytes, and at most {LARGEST_BYTES} are sent"
                return SpooledMessage(file, None, damage=damage, refusals=refusals)
            with os.fdopen(os.dup(descriptor), encoding="utf-8") as opened:
                return SpooledMessage(file, Envelope.from_json(opened.read()), refusals=refusals)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        damage = f"{type(error).__name__}: {error}"
        is_readable = not isinstance(error, OSError)
        return SpooledMessage(file, None, damage=damage, is_readable=is_readable, refusals=refusals)


def note_refusal(file: Path, reason: str, *, is_final: bool) -> None:
    """Record why a message was refused. After `TRIES` refusals, set it aside, unless the last one is temporary."""
    reasons = file.with_suffix(REASON_SUFFIX)
    line = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {' '.join(reason.split())[:LONGEST_REASON]}"
    lines = [*_refusals(file), line][-TRIES:]
    try:
        reasons.unlink(missing_ok=True)
        with reasons.open("x", encoding="utf-8", errors="backslashreplace") as opened:
            opened.write("\n".join(lines) + "\n")
        if len(lines) < TRIES or not is_final or file.parent.name == SET_ASIDE:
            return
        folder = file.parent / SET_ASIDE
        folder.mkdir(exist_ok=True)
        reasons.rename(folder / reasons.name)
        file.rename(folder / file.name)
        sync(folder)
        sync(file.parent)
    except FileNotFoundError:
        return  # it was dropped in the meantime
    except OSError as error:
        logger.warning("The reason why %s was refused cannot be kept: %s", file, error)
    else:
        logger.error("%s was refused %d times and is set aside in %s: %s", file.name, TRIES, folder, reason)


def remove(message: SpooledMessage) -> None:
    """Delete a message and the reasons of its refusals."""
    message.file.unlink(missing_ok=True)
    if message.refusals:
        with suppress(OSError):
            message.file.with_suffix(REASON_SUFFIX).unlink()


def _refusals(file: Path) -> tuple[str, ...]:
    with suppress(OSError), opened_file(file.with_suffix(REASON_SUFFIX)) as descriptor:
        return tuple(os.read(descriptor, LARGEST_REASONS).decode(errors="replace").splitlines())
    return ()


@contextmanager
def opened_file(file: Path) -> Iterator[int]:
    """Open a regular file for reading, without blocking; anything else raises an `OSError`."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)
