"""
Errors that prevent the worker program from running a task, with their exit status, and messages for system errors.

Runs in: worker.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path

__all__ = [
    "INVALID_RECIPE_RUN_ID",
    "MISCONFIGURED",
    "UNAVAILABLE",
    "InstallerError",
    "WorkerError",
    "describe_os_error",
]

# The numbers of sysexits.h.
INVALID_RECIPE_RUN_ID = 65  # EX_DATAERR
UNAVAILABLE = 69  # EX_UNAVAILABLE: the environment cannot be built
MISCONFIGURED = 78  # EX_CONFIG


class WorkerError(Exception):
    """The task cannot be run, and the worker program ends with this status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class InstallerError(WorkerError):
    """An installer has failed; ``may_be_its_cache`` unless its messages name a cause other than its cache."""

    def __init__(self, message: str, *, may_be_its_cache: bool) -> None:
        super().__init__(UNAVAILABLE, message)
        self.may_be_its_cache = may_be_its_cache


def describe_os_error(error: OSError, path: Path) -> str:
    """
    Describe why a file cannot be written, with the remedy.

    ``path`` is the file, or the folder that should contain it.
    """
    path = Path(error.filename or path)
    what = error.strerror or str(error)
    if error.errno in {errno.EACCES, errno.EPERM}:
        while not os.path.lexists(path):
            path = path.parent
        with suppress(OSError):
            status = path.lstat()
            owner = f"{path} belongs to user {status.st_uid} and has mode {status.st_mode & 0o777:o}"
            return f"{what}; {owner}, and the worker runs as user {os.geteuid()}. Correct its owner and mode."
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        with suppress(OSError):
            usage = os.statvfs(path if path.exists() else path.parent)
            if usage.f_files and not usage.f_favail and usage.f_bavail:
                return f"{what}; the file system has no more inodes (df -i). Remove files, or make it with more inodes."
        return f"{what} (df -h, or a quota). Run dkist-processing-core environments prune with a limit."
    if error.errno == errno.EROFS:
        return f"{what}. Mount it writable."
    return f"{what}: {path}." if str(path) not in what else f"{what}."
