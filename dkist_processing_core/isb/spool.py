"""
The folder of the messages that the broker did not take, one file a message, written whole or not at all.

Runs in: worker, DAG processor, and wherever a person sends the pending messages. A message can be spooled without pika,
which is imported to send it.
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
from typing import TYPE_CHECKING

from dkist_processing_core.common import atomic, test_mode
from dkist_processing_core.isb.envelope import Envelope

if TYPE_CHECKING:
    from dkist_processing_core.isb.errors import PublishError

__all__ = ["SendReport", "SpooledMessage", "lock", "pending", "send_pending", "spool_folder", "write"]

logger = logging.getLogger(__name__)

LOCK = ".lock"
LOCK_INTERVAL_SECONDS = 0.1
BATCH_MESSAGES = 500
BATCH_SECONDS = 30.0


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
    folder = folder or spool_folder()
    if next(folder.glob("*.json"), None) is None:
        return SendReport()
    deadline = time.monotonic() + seconds
    with lock(folder, seconds=lock_seconds) as is_locked:
        if not is_locked:
            return SendReport(is_busy=True)
        messages = [each for each in pending(folder) if only is None or each.file in only]
        damaged = [(each.file, f"damaged: {each.damage}") for each in messages if each.envelope is None]
        sent, unsent = _send([(each.file, each.envelope) for each in messages if each.envelope is not None], deadline)
    return SendReport(sent=tuple(sent), pending=tuple(sorted(damaged + unsent)))


def _send(messages: list[tuple[Path, Envelope]], deadline: float) -> tuple[list[Path], list[tuple[Path, str]]]:
    sent: list[Path] = []
    unsent: list[tuple[Path, str]] = []
    while messages:
        batch, messages = messages[:BATCH_MESSAGES], messages[BATCH_MESSAGES:]
        sent_before = len(sent)
        errors = _send_batch(batch, min(BATCH_SECONDS, deadline - time.monotonic()), sent)
        unsent += [(batch[index][0], str(error)) for index, error in errors.items()]
        retryable = [str(error) for error in errors.values() if error.retryable]
        if retryable and len(sent) == sent_before:
            # Nothing was confirmed, so the broker cannot be reached, or the time is over.
            unsent += [(file, retryable[0]) for file, _ in messages]
            break
    return sent, unsent


def _send_batch(batch: list[tuple[Path, Envelope]], seconds: float, sent: list[Path]) -> "dict[int, PublishError]":
    """Send some messages and delete each file as soon as its message is confirmed, so that it is not sent again."""
    from dkist_processing_core.isb.publisher import deliver

    def delete(index: int) -> None:
        file, _ = batch[index]
        sent.append(file)
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            logger.error("%s was sent but cannot be deleted; delete it, or it is sent again: %s", file, error)

    return deliver([envelope for _, envelope in batch], seconds=max(0.0, seconds), on_confirmed=delete)
