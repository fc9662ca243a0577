"""
The contents of a spool folder: pending, refused and set-aside messages, and files that are not ours.

Runs in: worker, DAG processor, terminal.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dkist_processing_core.isb.spool.folder import MARK, has_mark, spool_folder
from dkist_processing_core.isb.spool.message import (
    MESSAGE,
    PART,
    REASON,
    REASON_SUFFIX,
    SET_ASIDE,
    SpooledMessage,
    opened_file,
    read,
)

__all__ = ["REPORTED", "Contents", "contents", "pending", "pending_count"]

REPORTED = "reported"  # contains the records of `failures.reported`
OWN_NAMES = {MARK, SET_ASIDE, REPORTED}
STALE_SECONDS = 3600
FOREIGN_SHOWN = 10


@dataclass
class Contents:
    """
    The names in a spool folder.

    Attributes
    ----------
    messages
        Messages that were never refused, the oldest first.
    refused
        Messages that were refused, the one with the oldest refusal first.
    set_aside
        Messages in the subfolder for those that were refused several times, the oldest first.
    foreign
        The first names that are not ours and are ignored. ``foreign_count`` is the number of all of them.
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


def contents(folder: Path, *, deadline: float = float("inf")) -> Contents:
    """
    Return the contents of a spool folder that are read before the deadline, a time of the monotonic clock.

    A folder that does not exist is empty. In a folder without our mark, nothing is ours.
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
    # A part that got its final name while the folder was read may be listed twice.
    names = set(found.messages)
    found.messages = sorted(names - refused.keys())
    found.refused = sorted(names & refused.keys(), key=lambda name: (refused[name], name))
    if is_ours:
        _add_set_aside(found, folder, deadline)
    return found


def pending(folder: Path | None = None) -> Iterator[SpooledMessage]:
    """Yield the messages in a spool folder, the oldest first, including the files that are damaged."""
    folder = folder or spool_folder()
    return filter(None, map(read, contents(folder).paths(folder)))


def pending_count(folder: Path) -> int:
    """Return the number of messages in a spool folder, set-aside ones included, without changing anything."""
    if not has_mark(folder):
        return 0
    entries = (*_entries(folder, float("inf")), *_entries(folder / SET_ASIDE, float("inf")))
    return sum(MESSAGE.fullmatch(entry.name) is not None for entry in entries)


def _add_set_aside(found: Contents, folder: Path, deadline: float) -> None:
    try:
        for entry in _entries(folder / SET_ASIDE, deadline):
            is_file = entry.is_file(follow_symlinks=False)
            if is_file and MESSAGE.fullmatch(entry.name):
                found.set_aside.append(entry.name)
            elif not (is_file and REASON.fullmatch(entry.name)):
                _add_foreign(found, f"{SET_ASIDE}/{entry.name}")
    except OSError:  # it belongs to another user, for example; the other messages still count
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
    """Give a part that a dead writer has left behind its final name; return whether that was done."""
    with suppress(OSError), opened_file(part) as descriptor:
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
        # Otherwise its writer may be about to lock it.
        if is_stale:
            part.unlink()
    return False
