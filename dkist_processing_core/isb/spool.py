"""
The folder in which messages wait that the broker could not take.

Runs in: worker. One file a message, written whole or not at all.
"""

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from dkist_processing_core import atomic
from dkist_processing_core.isb.envelope import Envelope

logger = logging.getLogger(__name__)

__all__ = ["keep", "spool_folder", "waiting"]


def spool_folder() -> Path:
    """Return the spool folder: ``DKIST_ISB_SPOOL``, else one under the user's state folder (XDG)."""
    configured = os.environ.get("DKIST_ISB_SPOOL")
    if configured:
        return Path(configured)
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "dkist-processing-core" / "isb-spool"


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


def waiting() -> Iterator[tuple[Path, Envelope]]:
    """
    Yield each message that waits, with its file, the oldest first.

    A file that is no message is passed over, with a warning, and stays where it is.
    """
    for file in sorted(spool_folder().glob("*.json")):
        try:
            envelope = Envelope.from_json(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            logger.warning("%s is passed over: %s: %s", file, type(error).__name__, error)
            continue
        yield file, envelope
