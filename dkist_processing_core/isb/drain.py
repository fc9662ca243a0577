"""
Send what waits in the spool folder.

Runs in: worker and DAG processor, after a message that the broker has confirmed; and wherever a person asks for it.
"""

import logging
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dkist_processing_core.isb import spool
from dkist_processing_core.isb.envelope import Envelope
from dkist_processing_core.isb.publisher import PublishError, deliver
from dkist_processing_core.isb.spool import WaitingMessage

__all__ = ["SendReport", "send_waiting"]

logger = logging.getLogger(__name__)

MESSAGES_AT_ONCE = 500
BATCH_SECONDS = 30.0


@dataclass(frozen=True)
class SendReport:
    """
    What became of the messages in a spool folder.

    Attributes
    ----------
    sent
        Files of messages that the broker has confirmed; they are gone.
    kept
        Files that stay, each with the reason.
    is_busy
        Whether nothing was done since somebody else is sending.
    """

    sent: tuple[Path, ...] = ()
    kept: tuple[tuple[Path, str], ...] = ()
    is_busy: bool = False


def send_waiting(
    folder: Path | None = None,
    *,
    seconds: float = float("inf"),
    lock_seconds: float = 0,
    only: frozenset[Path] | None = None,
) -> SendReport:
    """
    Send the messages in the spool folder, the oldest first.

    A message that the broker refuses stays, and so does a file that is no message; neither holds up the others. Where
    the broker cannot be reached, all that is left stays.

    Parameters
    ----------
    folder
        The spool folder; that of the settings by default.
    seconds
        Limit of the whole call.
    lock_seconds
        How long to wait for somebody else who is sending.
    only
        The files to send; all by default.
    """
    folder = folder or spool.spool_folder()
    if next(folder.glob("*.json"), None) is None:
        return SendReport()
    deadline = time.monotonic() + seconds
    with spool.lock(folder, seconds=lock_seconds) as is_ours:
        if not is_ours:
            return SendReport(is_busy=True)
        return _send([each for each in spool.waiting(folder) if only is None or each.file in only], deadline)


def _send(messages: list[WaitingMessage], deadline: float) -> SendReport:
    sent: list[Path] = []
    kept = [(each.file, f"this is no message ({each.damage})") for each in messages if each.envelope is None]
    left = iter([(each.file, each.envelope) for each in messages if each.envelope is not None])
    while batch := list(islice(left, MESSAGES_AT_ONCE)):
        already_sent = len(sent)
        errors = _send_batch(batch, min(BATCH_SECONDS, deadline - time.monotonic()), sent)
        kept += [(batch[index][0], str(error)) for index, error in errors.items()]
        passing = [str(error) for error in errors.values() if error.retryable]
        if passing and len(sent) == already_sent:
            # Nothing got through, so the broker is not there, or the time is over.
            kept += [(file, passing[0]) for file, _ in left]
    return SendReport(sent=tuple(sent), kept=tuple(sorted(kept)))


def _send_batch(batch: list[tuple[Path, Envelope]], seconds: float, sent: list[Path]) -> dict[int, PublishError]:
    """Send some messages and delete the file of each as soon as it is confirmed, so that it is not sent again."""
    files = {id(envelope): file for file, envelope in batch}

    def forget(envelope: Envelope) -> None:
        file = files[id(envelope)]
        sent.append(file)
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            logger.error("%s is sent but cannot be removed, so it would be sent again; remove it: %s", file, error)

    return deliver([envelope for _, envelope in batch], seconds=max(0.0, seconds), on_confirmed=forget)
