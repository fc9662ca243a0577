"""
Send the messages in the spool folder, as many as the time allows, in bounded memory.

Runs in: worker, DAG processor, and wherever a person sends the pending messages. pika is imported once there is one.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dkist_processing_core.isb import spool
from dkist_processing_core.isb.envelope import Envelope
from dkist_processing_core.isb.spool import SpooledMessage

if TYPE_CHECKING:
    from dkist_processing_core.isb.errors import PublishError

__all__ = ["SendReport", "send_pending"]

logger = logging.getLogger(__name__)

# Limits of the messages that are read before they are sent.
BATCH_MESSAGES = 500
BATCH_BYTES = 2**20
BATCH_SECONDS = 30.0


@dataclass
class SendReport:
    """
    The names of the files that were sent and deleted, of those that were refused, and of those that were not tried.

    If another process is sending (``is_busy``), nothing was done.
    """

    sent: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)  # each with the reason
    untried: list[str] = field(default_factory=list)
    reason: str = ""  # why the rest was not tried
    is_busy: bool = False

    @property
    def pending(self) -> list[tuple[str, str]]:
        """The names of all files that remain, each with the reason."""
        return sorted([*self.refused, *((name, self.reason) for name in self.untried)])

    @property
    def pending_count(self) -> int:
        """Number of files that remain."""
        return len(self.refused) + len(self.untried)


def send_pending(
    folder: Path | None = None,
    *,
    seconds: float = float("inf"),
    lock_seconds: float = 0,
    only: frozenset[str] | None = None,
    is_complete: bool = False,
) -> SendReport:
    """
    Send the messages in the spool folder: first those that were never refused, the oldest first, then the refused ones.

    A refused message remains, and so does a damaged file. Neither delays the others, and both are set aside after some
    tries. If the broker cannot be reached, all other messages remain. The call takes at most ``seconds``, after waiting
    at most ``lock_seconds`` for another process that is sending. ``only`` are the names of the files to send, by
    default all. With ``is_complete``, those that are set aside are also tried.
    """
    folder = folder or spool.spool_folder()
    if not spool.has_mark(folder):
        return SendReport()
    deadline = time.monotonic() + seconds
    with spool.lock(folder, seconds=lock_seconds) as is_locked:
        if not is_locked:
            return SendReport(is_busy=True)
        found = spool.contents(folder, deadline=deadline)
        files = [(folder, name) for name in found.messages + found.refused]
        if is_complete:
            files += [(folder / spool.SET_ASIDE, name) for name in found.set_aside]
        report = SendReport()
        waiting = iter([each for each in files if only is None or each[1] in only])
        report.reason = _send(waiting, deadline, report)
        report.untried = [name for _, name in waiting]
        return report


def _send(waiting: Iterator[tuple[Path, str]], deadline: float, report: SendReport) -> str:
    """Send one batch after the other; return why the rest was not tried, empty if all were tried."""
    while batch := _next_batch(waiting, deadline, report):
        sent_before = len(report.sent)
        errors = _send_batch(batch, min(BATCH_SECONDS, deadline - time.monotonic()), report)
        for index, error in errors.items():
            message, _ = batch[index]
            report.refused.append((message.file.name, str(error)))
            if error.is_refusal:
                spool.note_refusal(message.file, str(error), is_final=not error.retryable)
        general = [str(error) for error in errors.values() if not error.is_refusal]
        if general and len(report.sent) == sent_before:
            # Nothing was confirmed: the broker cannot be reached, or no time is left.
            return general[0]
    return "no time left" if time.monotonic() > deadline else ""


def _next_batch(
    waiting: Iterator[tuple[Path, str]], deadline: float, report: SendReport
) -> list[tuple[SpooledMessage, Envelope]]:
    """Read some messages; add those that cannot be read to the report."""
    batch: list[tuple[SpooledMessage, Envelope]] = []
    size = 0
    while len(batch) < BATCH_MESSAGES and size < BATCH_BYTES and time.monotonic() <= deadline:
        if (found := next(waiting, None)) is None:
            break
        message = spool.read(found[0] / found[1])
        if message is None:
            continue
        if message.envelope is None:
            reason = f"damaged: {message.damage}"
            report.refused.append((message.file.name, reason))
            if message.is_readable:
                spool.note_refusal(message.file, reason, is_final=True)
            continue
        batch.append((message, message.envelope))
        size += len(message.envelope.body)
    return batch


def _send_batch(
    batch: list[tuple[SpooledMessage, Envelope]], seconds: float, report: SendReport
) -> "dict[int, PublishError]":
    """Send some messages and delete each file as soon as its message is confirmed, so that it is not sent again."""
    from dkist_processing_core.isb.publisher import deliver

    def delete(index: int) -> None:
        message, _ = batch[index]
        report.sent.append(message.file.name)
        try:
            spool.remove(message)
        except OSError as error:
            text = "%s was sent but cannot be deleted; delete it, or it is sent again: %s"
            logger.error(text, message.file, error)

    envelopes = [envelope for _, envelope in batch]
    return deliver(envelopes, seconds=max(0.0, seconds), on_confirmed=delete, retry_refused=False)
