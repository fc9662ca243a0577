"""
The folder in which messages wait that the broker could not take.

Runs in: worker, DAG processor, and wherever a person sends what waits. One file a message, written whole or not at all.
"""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dkist_processing_core.common import atomic, test_mode
from dkist_processing_core.isb.envelope import Envelope

__all__ = ["WaitingMessage", "forget_old", "keep", "lock", "spool_folder", "waiting"]

logger = logging.getLogger(__name__)

LOCK = ".lock"
LOOK_AGAIN_SECONDS = 0.1
FORGOTTEN_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True)
class WaitingMessage:
    """
    A file in the spool folder.

    Attributes
    ----------
    file
        Where it is.
    envelope
        The message, None if the file is none.
    damage
        Why the file is no message; empty if it is one.
    """

    file: Path
    envelope: Envelope | None
    damage: str = ""

    @property
    def kept_at(self) -> datetime:
        """When it was written, as its name says; else when the file was changed last."""
        nanoseconds, _, _ = self.file.name.partition("-")
        try:
            return datetime.fromtimestamp(int(nanoseconds) / 1e9, UTC)
        except (ValueError, OverflowError):
            return datetime.fromtimestamp(self.file.stat().st_mtime, UTC)


def spool_folder() -> Path:
    """Return the spool folder: ``DKIST_ISB_SPOOL``, else one under the user's state folder (XDG)."""
    if doubles := test_mode.active():
        return doubles.spool_folder
    configured = os.environ.get("DKIST_ISB_SPOOL")
    if configured:
        return Path(configured)
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "dkist-processing-core" / "isb-spool"


def forget_old(folder: Path) -> None:
    """Remove the files of a folder that nobody has come for within a week; others may do the same at the same time."""
    for file in folder.iterdir():
        with suppress(OSError):
            if time.time() - file.stat().st_mtime > FORGOTTEN_SECONDS:
                file.unlink()


def keep(envelope: Envelope) -> Path:
    """
    Write a message to the spool folder.

    Parameters
    ----------
    envelope
        The message and where it goes.

    Returns
    -------
    Path
        The file. Its name begins with the time, so that the names sort by age.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    folder = spool_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return atomic.write_text(folder / f"{time.time_ns():020d}-{envelope.message_id}.json", envelope.to_json() + "\n")


def waiting(folder: Path | None = None) -> Iterator[WaitingMessage]:
    """
    Yield each file in the spool folder, the oldest first.

    A file that is no message is yielded with the damage. One that somebody else has sent meanwhile is not.

    Parameters
    ----------
    folder
        Where to look; that of `spool_folder` by default.
    """
    for file in sorted((folder or spool_folder()).glob("*.json")):
        try:
            yield WaitingMessage(file, Envelope.from_json(file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            yield WaitingMessage(file, None, damage=f"{type(error).__name__}: {error}")


@contextmanager
def lock(folder: Path, *, seconds: float = 0) -> Iterator[bool]:
    """
    Keep others from sending what is in a spool folder, so that no message is sent twice.

    Parameters
    ----------
    folder
        The folder, which must be there.
    seconds
        How long to wait for somebody who sends.

    Yields
    ------
    bool
        Whether it is ours. A file system without locks does not keep messages from being sent: it is then ours.
    """
    deadline = time.monotonic() + seconds
    with (folder / LOCK).open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    yield False
                    return
                time.sleep(LOOK_AGAIN_SECONDS)
                continue
            except OSError as error:
                logger.warning("%s cannot be locked: %s", folder, error)
            yield True
            return
