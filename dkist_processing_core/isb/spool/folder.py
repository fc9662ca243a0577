"""
The spool folder: its path, its mark, and its lock.

Runs in: worker, DAG processor, terminal.
"""

import fcntl
import logging
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dkist_processing_core.common import test_mode
from dkist_processing_core.exceptions import ConfigurationError

__all__ = ["MARK", "has_mark", "lock", "prepare", "spool_folder", "sync"]

logger = logging.getLogger(__name__)

# The mark is also the file that is locked.
MARK = ".dkist-isb-spool"
MARK_TEXT = b"Messages of dkist-processing-core that the interservice bus has not taken yet.\n"
LOCK_INTERVAL_SECONDS = 0.1


def spool_folder() -> Path:
    """
    Return the spool folder: ``DKIST_ISB_SPOOL``, or one in the user's state folder (XDG).

    If the latter is not writable, or there is no home folder, it is ``isb-spool`` in ``DKIST_ENVIRONMENT_CACHE``.

    Raises
    ------
    ConfigurationError
        If there is no such folder either.
    """
    if doubles := test_mode.active():
        return doubles.spool_folder
    if configured := os.environ.get("DKIST_ISB_SPOOL"):
        return Path(configured)
    # It does not raise if there is no home folder.
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
    """Return whether a folder is writable or can be created."""
    with suppress(OSError):
        nearest = next(each for each in (folder, *folder.parents) if each.exists())
        return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    return False


def prepare(folder: Path) -> Path:
    """Create a spool folder with its mark unless it exists, and return it."""
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
            sync(each.parent)
        sync(folder)
    return folder


def has_mark(folder: Path) -> bool:
    """Return whether a folder has our mark."""
    with suppress(OSError):
        return stat.S_ISREG((folder / MARK).lstat().st_mode)
    return False


@contextmanager
def lock(folder: Path, *, seconds: float) -> Iterator[bool]:
    """
    Lock a spool folder, so that no message is sent twice; yield whether this succeeded in time.

    On a file system without locks, the folder counts as locked, so that messages are still sent.
    """
    deadline = time.monotonic() + seconds
    try:
        descriptor = _open_mark(folder)
    except PermissionError:  # of another user; a local file system also locks files that are open for reading
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


def _open_mark(folder: Path) -> int:
    return os.open(folder / MARK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)


def sync(folder: Path) -> None:
    """Write the names in a folder to the disk, if the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
