"""
Send the pending messages of a spool folder.

Runs in: worker and DAG processor, after a message that the broker has confirmed; and wherever a person asks for it.
"""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from dkist_processing_core.isb import spool
from dkist_processing_core.isb.envelope import Envelope
from dkist_processing_core.isb.publisher import PublishError, deliver

__all__ = ["SendReport", "send_pending"]

logger = logging.getLogger(__name__)

BATCH_MESSAGES = 500
BATCH_SECONDS = 30.0


@dataclass(frozen=True)
class SendReport:
    """The files that were sent and deleted, and those that remain; nothing is done while another process sends."""

    sent: tuple[Path, ...] = ()
    pending: tuple[tuple[Path, str], ...] = ()  # each with the reason
    is_busy: bool = False


def send_pending(
    folder: Path | None = None,
    *,
    seconds: float = float("inf"),
    lock_seconds: float = 0,
    only: frozenset[Path] | None = None,
) -> SendReport:
    """
    Send the messages in the spool folder, the oldest first.

    A message that the broker refuses remains, and so does a damaged file; neither holds up the others. If the broker
    cannot be reached, all the rest remains. The call takes ``seconds`` at most, and before that ``lock_seconds`` at
    most for another process that is sending. ``only`` names the files to send, all by default.
    """
    folder = folder or spool.spool_folder()
    if next(folder.glob("*.json"), None) is None:
        return SendReport()
    deadline = time.monotonic() + seconds
    with spool.lock(folder, seconds=lock_seconds) as is_locked:
        if not is_locked:
            return SendReport(is_busy=True)
        messages = [each for each in spool.pending(folder) if only is None or each.file in only]
        damaged = [(each.file, f"damaged: {each.damage}") for each in messages if each.envelope is None]
        sent, pending = _send([(each.file, each.envelope) for each in messages if each.envelope is not None], deadline)
    return SendReport(sent=tuple(sent), pending=tuple(sorted(damaged + pending)))


def _send(messages: list[tuple[Path, Envelope]], deadline: float) -> tuple[list[Path], list[tuple[Path, str]]]:
    sent: list[Path] = []
    pending: list[tuple[Path, str]] = []
    while messages:
        batch, messages = messages[:BATCH_MESSAGES], messages[BATCH_MESSAGES:]
        sent_before = len(sent)
        errors = _send_batch(batch, min(BATCH_SECONDS, deadline - time.monotonic()), sent)
        pending += [(batch[index][0], str(error)) for index, error in errors.items()]
        retryable = [str(error) for error in errors.values() if error.retryable]
        if retryable and len(sent) == sent_before:
            # Nothing was confirmed, so the broker cannot be reached, or the time is over.
            pending += [(file, retryable[0]) for file, _ in messages]
            break
    return sent, pending


def _send_batch(batch: list[tuple[Path, Envelope]], seconds: float, sent: list[Path]) -> dict[int, PublishError]:
    """Send some messages and delete each file as soon as its message is confirmed, so that it is not sent again."""

    def delete(index: int) -> None:
        file, _ = batch[index]
        sent.append(file)
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            logger.error("%s was sent but cannot be deleted; delete it, or it is sent again: %s", file, error)

    return deliver([envelope for _, envelope in batch], seconds=max(0.0, seconds), on_confirmed=delete)
