"""
The folder of the messages that the broker did not take, one file a message, written whole or not at all.

Runs in: worker, DAG processor, and wherever a person sends the pending messages.
"""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dkist_processing_core.common import atomic, test_mode
from dkist_processing_core.isb.envelope import Envelope

__all__ = ["SpooledMessage", "lock", "pending", "spool_folder", "write"]

logger = logging.getLogger(__name__)

LOCK = ".lock"
LOCK_INTERVAL_SECONDS = 0.1


@dataclass(frozen=True)
class SpooledMessage:
    """A file in the spool folder with its message; a damaged file has none, and ``damage`` says why."""

    file: Path
    envelope: Envelope | None
    damage: str = ""

    @property
    def spooled_at(self) -> datetime:
        """When it was written, according to its name, else when the file was last modified."""
        try:
            return datetime.fromtimestamp(int(self.file.name.partition("-")[0]) / 1e9, UTC)
        except (ValueError, OverflowError):
            return datetime.fromtimestamp(self.file.stat().st_mtime, UTC)


def spool_folder() -> Path:
    """Return the spool folder: ``DKIST_ISB_SPOOL``, else one under the user's state folder (XDG)."""
    if doubles := test_mode.active():
        return doubles.spool_folder
    if configured := os.environ.get("DKIST_ISB_SPOOL"):
        return Path(configured)
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "dkist-processing-core" / "isb-spool"


def write(envelope: Envelope) -> Path:
    """Write a message to the spool folder and return the file; its name begins with the time, so names sort by age."""
    folder = spool_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return atomic.write_text(folder / f"{time.time_ns():020d}-{envelope.message_id}.json", envelope.to_json() + "\n")


def pending(folder: Path | None = None) -> Iterator[SpooledMessage]:
    """Yield the messages in a spool folder, the oldest first, including the files that are damaged."""
    for file in sorted((folder or spool_folder()).glob("*.json")):
        try:
            yield SpooledMessage(file, Envelope.from_json(file.read_text(encoding="utf-8")))
        except FileNotFoundError:  # another process has sent it in the meantime
            continue
        except (OSError, ValueError) as error:
            yield SpooledMessage(file, None, damage=f"{type(error).__name__}: {error}")


@contextmanager
def lock(folder: Path, *, seconds: float = 0) -> Iterator[bool]:
    """
    Lock a spool folder, so that no message is sent twice, and yield whether that succeeded within the time.

    A file system without locks does not keep messages from being sent: it counts as locked.
    """
    deadline = time.monotonic() + seconds
    with (folder / LOCK).open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < deadline:
                    time.sleep(LOCK_INTERVAL_SECONDS)
                    continue
                yield False
                return
            except OSError as error:
                logger.warning("The spool folder %s cannot be locked: %s", folder, error)
            yield True
            return
