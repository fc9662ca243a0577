"""
Check who may write to the files and folders that a worker uses.

Runs in: worker.
"""

import os
import stat
from pathlib import Path

from dkist_processing_core.worker.errors import MISCONFIGURED, WorkerError

__all__ = ["check_owner", "is_private", "is_writable", "replaceable_in"]

WRITABLE_BY_OTHERS = 0o022


def is_writable(folder: Path) -> bool:
    """Return whether this process may write to a folder. An image may contain a read-only cache."""
    return os.access(folder, os.W_OK | os.X_OK)


def check_owner(path: Path, name: str, remedy: str) -> None:
    """
    Raise a `WorkerError` if a user other than this one and root may write to a file or folder.

    On a file system that is mounted read-only, nobody can.
    """
    status = path.lstat()
    if not is_private(status) and not os.statvfs(path).f_flag & os.ST_RDONLY:
        raise WorkerError(
            MISCONFIGURED,
            f"{name} belongs to user {status.st_uid} and has mode {stat.S_IMODE(status.st_mode):o}; it must belong to "
            f"user {os.geteuid()} or to root, and nobody else may write to it. {remedy}",
        )


def is_private(status: os.stat_result) -> bool:
    """Return whether only this user and root may write to a file or folder."""
    return status.st_uid in {os.geteuid(), 0} and not status.st_mode & WRITABLE_BY_OTHERS


def replaceable_in(folder: Path) -> Path | None:
    """Return a parent folder in which other users could replace the path to a folder; None if there is none."""
    for parent in folder.parents:
        status = parent.stat()
        is_sticky = status.st_mode & stat.S_ISVTX and status.st_uid in {os.geteuid(), 0}
        if not (is_sticky or is_private(status)):
            return parent
    return None
