"""
The folder of the messages that the broker did not take, one file a message, written whole or not at all.

Runs in: worker, DAG processor, and wherever a person looks at the pending messages, with the standard library alone.

Somebody may name a folder that holds other things as well. So only regular files whose names have our form, in a folder
that carries our `MARK`, are ever read, renamed or removed. A message that was refused has its reasons in a second file
beside it; after `TRIES` of them, both are in the subfolder `SET_ASIDE`.
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
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from dkist_processing_core.common import test_mode
from dkist_processing_core.exceptions import ConfigurationError
from dkist_processing_core.isb.envelope import Envelope

__all__ = [
    "Contents",
    "SpooledMessage",
    "contents",
    "has_mark",
    "lock",
    "note_refusal",
    "pending",
    "pending_count",
    "prepare",
    "read",
    "remove",
    "spool_folder",
    "write",
]

logger = logging.getLogger(__name__)

# The mark is the file that is locked, too.
MARK = ".dkist-isb-spool"
MARK_TEXT = b"Messages of dkist-processing-core that the interservice bus has not taken yet.\n"
SET_ASIDE = "undeliverable"
REPORTED = "reported"  # has the records of `failures.reported`
OWN_NAMES = {MARK, SET_ASIDE, REPORTED}
TRIES = 5
REASON_SUFFIX = ".reason"
MESSAGE = re.compile(r"[0-9]{20}-[0-9a-f]{32}\.json")
REASON = re.compile(r"[0-9]{20}-[0-9a-f]{32}\.reason")
PART = re.compile(r"\.([0-9]{20}-[0-9a-f]{32}\.json)\.[0-9a-f]{8}\.part")
MESSAGE_ID = re.compile("[0-9a-f]{32}")
# RabbitMQ may take more, but what is read into memory must have a limit.
LARGEST_BYTES = 4 * 2**20
LONGEST_REASON = 1000
# Of the last reasons together, with their times; a character takes at most six bytes.
LARGEST_REASONS = 8 * TRIES * LONGEST_REASON
STALE_SECONDS = 3600
FOREIGN_SHOWN = 10
LOCK_INTERVAL_SECONDS = 0.1


@dataclass(frozen=True)
class SpooledMessage:
    """
    A file in the spool folder with its message.

    Attributes
    ----------
    file
        Where it is.
    envelope
        The message; None if the file is damaged.
    damage
        What is wrong with a damaged file.
    is_readable
        Whether the file could be read; that it could not may pass, as with a permission.
    refusals
        Each time that the broker has refused it, the last ones at most, with the reason.
    """

    file: Path
    envelope: Envelope | None
    damage: str = ""
    is_readable: bool = True
    refusals: tuple[str, ...] = ()

    @property
    def spooled_at(self) -> datetime:
        """When it was written, according to its name."""
        return datetime.fromtimestamp(int(self.file.name.partition("-")[0]) / 1e9, UTC)

    @property
    def is_set_aside(self) -> bool:
        """Whether it was refused so often that it is sent only when somebody asks for it."""
        return self.file.parent.name == SET_ASIDE


@dataclass
class Contents:
    """
    The names in a spool folder.

    Attributes
    ----------
    messages
        Those of the messages that were never refused, the oldest first.
    refused
        Those of the messages that were refused, the one that was refused longest ago first.
    set_aside
        Those of the messages in the subfolder for what is refused again and again, the oldest first.
    foreign
        The first ones of what is not ours and is left alone, and ``foreign_count`` how many there are in all.
    """

    messages: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    set_aside: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    foreign_count: int = 0

    def paths(self, folder: Path) -> Iterator[Path]:
        """Yield the file of each message, the oldest first."""
        where = [(name, folder) for name in self.refused]
        where += [(name, folder / SET_ASIDE) for name in self.set_aside]
        names = sorted(self.messages + [name for name, _ in where])
        elsewhere = dict(where)
        return (elsewhere.get(name, folder) / name for name in names)


def spool_folder() -> Path:
    """
    Return the spool folder: ``DKIST_ISB_SPOOL``, else one under the user's state folder (XDG).

    Where that cannot be written, or there is no home folder, it is ``isb-spool`` in ``DKIST_ENVIRONMENT_CACHE``.

    Raises
    ------
    ConfigurationError
        If there is no such folder either.
    """
    if doubles := test_mode.active():
        return doubles.spool_folder
    if configured := os.environ.get("DKIST_ISB_SPOOL"):
        return Path(configured)
    # It does not raise where there is no home.
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111
    usual = Path(state) / "dkist-processing-core" / "isb-spool"
    if usual.is_absolute() and _can_be_written(usual):
        return usual
    if cache := os.environ.get("DKIST_ENVIRONMENT_CACHE"):
        return Path(cache) / "isb-spool"
    if usual.is_absolute():
        return usual
    raise ConfigurationError("There is no home folder for pending messages. Set DKIST_ISB_SPOOL to a folder.")


def _can_be_written(folder: Path) -> bool:
    """Return whether a folder can be written, or created."""
    with suppress(OSError):
        nearest = next(each for each in (folder, *folder.parents) if each.exists())
        return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    return False


def write(envelope: Envelope) -> Path:
    """
    Write a message to the spool folder and return the file; its name begins with the time, so names sort by age.

    The file and its name are on the disk when this returns. Until then it has the name of a part, which is locked while
    somebody writes it; a part without a lock was left by a power cut, and `contents` takes it over.
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
    _sync(folder)
    return file


def prepare(folder: Path) -> Path:
    """Create a spool folder with its mark, if it is not there, and return it."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    if not has_mark(folder):
        descriptor = _open_mark(folder)
        try:
            os.write(descriptor, MARK_TEXT)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        for each in missing:
            _sync(each.parent)
        _sync(folder)
    return folder


def has_mark(folder: Path) -> bool:
    """Return whether a folder is a spool folder of ours."""
    with suppress(OSError):
        return stat.S_ISREG((folder / MARK).lstat().st_mode)
    return False


def _open_mark(folder: Path) -> int:
    return os.open(folder / MARK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)


def _sync(folder: Path) -> None:
    """Write the names in a folder to the disk; not every file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def contents(folder: Path, *, deadline: float = float("inf")) -> Contents:
    """
    Return what is in a spool folder, as far as it is read until the deadline, a time of the monotonic clock.

    A folder that is not there is empty, and in one without our mark nothing is ours.
    """
    found = Contents()
    is_ours = has_mark(folder)
    refused: dict[str, int] = {}
    for entry in _entries(folder, deadline):
        is_file = is_ours and entry.is_file(follow_symlinks=False)
        if is_file and MESSAGE.fullmatch(entry.name):
            found.messages.append(entry.name)
        elif is_file and REASON.fullmatch(entry.name):
            with suppress(OSError):
                refused[entry.name.replace(REASON_SUFFIX, ".json")] = entry.stat().st_mtime_ns
        elif is_file and (part := PART.fullmatch(entry.name)):
            if _take_over(folder / entry.name, folder / part[1]):
                found.messages.append(part[1])
        elif not (is_ours and entry.name in OWN_NAMES):
            _add_foreign(found, entry.name)
    # A message that was taken over while the folder was read may be met twice.
    names = set(found.messages)
    found.messages = sorted(names - refused.keys())
    found.refused = sorted(names & refused.keys(), key=lambda name: (refused[name], name))
    if is_ours:
        _add_set_aside(found, folder, deadline)
    return found


def _add_set_aside(found: Contents, folder: Path, deadline: float) -> None:
    try:
        for entry in _entries(folder / SET_ASIDE, deadline):
            is_file = entry.is_file(follow_symlinks=False)
            if is_file and MESSAGE.fullmatch(entry.name):
                found.set_aside.append(entry.name)
            elif not (is_file and REASON.fullmatch(entry.name)):
                _add_foreign(found, f"{SET_ASIDE}/{entry.name}")
    except OSError:  # another user's, for example; the messages beside it count nevertheless
        _add_foreign(found, SET_ASIDE)
    found.set_aside.sort()


def _entries(folder: Path, deadline: float) -> "Iterator[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                yield entry
                if time.monotonic() > deadline:
                    return
    except (FileNotFoundError, NotADirectoryError):
        return


def _add_foreign(found: Contents, name: str) -> None:
    found.foreign_count += 1
    if len(found.foreign) < FOREIGN_SHOWN:
        found.foreign.append(name)


def _take_over(part: Path, file: Path) -> bool:
    """Give the part that a dead writer has left its final name; return whether that was done."""
    with suppress(OSError), _opened(part) as descriptor:
        status = os.fstat(descriptor)
        is_stale = time.time() - status.st_mtime > STALE_SECONDS
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            if not is_stale:
                return False
        if os.fstat(descriptor).st_size:
            part.rename(file)
            return True
        # A writer may be about to lock it.
        if is_stale:
            part.unlink()
    return False


@contextmanager
def _opened(file: Path) -> Iterator[int]:
    """Open a regular file for reading; anything else in its place is an `OSError`, and never waited for."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def read(file: Path) -> SpooledMessage | None:
    """Return the message in a file; None if another process has sent it in the meantime."""
    refusals = _refusals(file)
    try:
        with _opened(file) as descriptor:
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


def _refusals(file: Path) -> tuple[str, ...]:
    with suppress(OSError), _opened(file.with_suffix(REASON_SUFFIX)) as descriptor:
        return tuple(os.read(descriptor, LARGEST_REASONS).decode(errors="replace").splitlines())
    return ()


def pending(folder: Path | None = None) -> Iterator[SpooledMessage]:
    """Yield the messages in a spool folder, the oldest first, including the files that are damaged."""
    folder = folder or spool_folder()
    return filter(None, map(read, contents(folder).paths(folder)))


def note_refusal(file: Path, reason: str, *, is_final: bool) -> None:
    """Write down why a message was refused; after `TRIES` refusals, unless that one may pass, set it aside."""
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
        _sync(folder)
        _sync(file.parent)
    except FileNotFoundError:
        return  # somebody has dropped it
    except OSError as error:
        logger.warning("The reason why %s was refused cannot be kept: %s", file, error)
    else:
        logger.error("%s was refused %d times and is set aside in %s: %s", file.name, TRIES, folder, reason)


def pending_count(folder: Path) -> int:
    """Return how many messages are in a spool folder, also those that are set aside; nothing in it changes."""
    if not has_mark(folder):
        return 0
    entries = (*_entries(folder, float("inf")), *_entries(folder / SET_ASIDE, float("inf")))
    return sum(MESSAGE.fullmatch(entry.name) is not None for entry in entries)


def remove(message: SpooledMessage) -> None:
    """Delete a message and the reasons why it was refused."""
    message.file.unlink(missing_ok=True)
    if message.refusals:
        with suppress(OSError):
            message.file.with_suffix(REASON_SUFFIX).unlink()


@contextmanager
def lock(folder: Path, *, seconds: float) -> Iterator[bool]:
    """
    Lock a spool folder, so that no message is sent twice, and yield whether that succeeded within the time.

    A file system without locks does not keep messages from being sent: it counts as locked.
    """
    deadline = time.monotonic() + seconds
    try:
        descriptor = _open_mark(folder)
    except PermissionError:  # another user has made it, and a local file system locks what is only read, too
        descriptor = os.open(folder / MARK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
    finally:
        os.close(descriptor)
