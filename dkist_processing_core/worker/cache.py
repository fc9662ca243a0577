"""
The cache of task environments: its layout, its locks, and the marker of what is complete.

Runs in: worker. ``DKIST_ENVIRONMENT_CACHE/v1`` holds one folder for each environment. Beside the folder lie two files
that processes lock (:manpage:`flock(2)`): ``.use`` is locked shared by every task that runs in the environment, and its
modification time is when the last one began; ``.build`` is locked exclusively by whoever builds it. Whoever holds both
exclusively may remove the environment, and the locks too, since a process that has opened a lock checks that the file
is still the one in the folder. All of this is part of the ABI: another release of this library may share the cache.
"""

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from dkist_processing_core.worker import log
from dkist_processing_core.worker.errors import MISCONFIGURED, UNAVAILABLE, WorkerError

__all__ = [
    "LAYOUT",
    "LOCK_SUFFIXES",
    "EnvironmentLocks",
    "describe_os_error",
    "is_ready",
    "is_same_file",
    "lock_paths",
    "open_cache",
    "read_marker",
    "write_marker",
]

LAYOUT = "v1"
LOCK_SUFFIXES = (".use", ".build")
MARKER = ".ready"
PRIVATE = 0o700
WRITABLE_BY_OTHERS = 0o022
LOCK_POLL_SECONDS = 0.05
LOG_SECONDS = 0.5
REMEDY = "Set DKIST_ENVIRONMENT_CACHE to a folder on a local disk that belongs to the user of the worker."


def open_cache(root: Path) -> Path:
    """
    Return the folder of the environments in a cache, which is made if it does not exist.

    One that others could write to is refused, since they would decide what a task runs.
    """
    if not root.is_absolute():
        # Airflow starts each task in a temporary folder of its own.
        raise WorkerError(MISCONFIGURED, f"the environment cache {str(root)!r} is not an absolute path. {REMEDY}")
    if not str(root).isprintable() or os.pathsep in str(root):
        raise WorkerError(
            MISCONFIGURED,
            f"the environment cache {str(root)!r} has a character in its path that no virtual environment may have: a "
            f"colon, a line break, or another one that cannot be printed. {REMEDY}",
        )
    folder = root / LAYOUT
    try:
        folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        status = folder.stat()
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise WorkerError(
            MISCONFIGURED,
            f"the environment cache {root} cannot be written: {describe_os_error(error, root)} {REMEDY}",
        ) from error
    if status.st_uid != os.geteuid() or status.st_mode & WRITABLE_BY_OTHERS:
        raise WorkerError(
            MISCONFIGURED,
            f"the environment cache {folder} belongs to user {status.st_uid} and has mode {status.st_mode & 0o777:o}; "
            f"it must belong to user {os.geteuid()}, and nobody else may write to it. {REMEDY}",
        )
    return folder.resolve()


def lock_paths(environment: Path) -> tuple[Path, Path]:
    """Return the locks of an environment: for those who use it, and for whoever builds it."""
    use, build = (environment.with_name(environment.name + suffix) for suffix in LOCK_SUFFIXES)
    return use, build


def is_ready(environment: Path) -> bool:
    """Return whether an environment is complete and can be started."""
    return bool(read_marker(environment)) and os.access(environment / "bin" / "python", os.X_OK)


def read_marker(environment: Path) -> dict[str, object]:
    """Return what the marker of an environment says; empty if the environment was never completed."""
    try:
        content = json.loads((environment / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_marker(environment: Path, content: Mapping[str, object]) -> None:
    """Mark an environment as complete, after all else."""
    from dkist_processing_core.common.atomic import write_text

    write_text(environment / MARKER, json.dumps(content, indent=2) + "\n")


class EnvironmentLocks:
    """
    The locks of an environment, held by this process and by programs that inherit ``descriptors``.

    A lock is waited for, for ``patience`` seconds; ``check`` is called meanwhile and ends the wait by raising.
    """

    def __init__(self, environment: Path, *, patience: float, check: Callable[[], None]) -> None:
        self._environment = environment
        self._patience = patience
        self._check = check
        self.descriptors: list[int] = []
        # Whoever removes an environment removes its locks; a file that is no longer in the folder protects nothing.
        while not self.descriptors or not all(map(is_same_file, self.descriptors, lock_paths(environment))):
            for descriptor in self.descriptors:
                os.close(descriptor)
            try:
                self.descriptors = [
                    os.open(each, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) for each in lock_paths(environment)
                ]
            except OSError as error:
                raise WorkerError(
                    UNAVAILABLE,
                    f"the lock {error.filename} cannot be opened: {describe_os_error(error, Path(error.filename))}",
                ) from error
            self._acquire(self.descriptors[0], fcntl.LOCK_SH, "is removing")
        os.utime(self.descriptors[0])

    def begin_build(self) -> None:
        """Wait until nobody else builds the environment, and keep others from building it."""
        self._acquire(self.descriptors[1], fcntl.LOCK_EX, "is building")

    def end_build(self) -> None:
        """Let others build; the lock of those who use the environment stays."""
        os.close(self.descriptors.pop())

    def _acquire(self, descriptor: int, operation: int, what_others_do: str) -> None:
        # Not a blocking call, during which nobody would ask for signals.
        began = time.monotonic()
        is_logged = False
        while True:
            self._check()
            try:
                fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            except OSError as error:
                raise WorkerError(
                    MISCONFIGURED,
                    f"the environment cache {self._environment.parent} is on a file system that cannot lock files "
                    f"(flock): {error.strerror}. {REMEDY}",
                ) from error
            else:
                return
            # Whoever only lists environments holds their locks for a moment, which is not worth a line.
            if not is_logged and time.monotonic() >= began + LOG_SECONDS:
                log.info(f"another task {what_others_do} this environment; waiting for it")
                is_logged = True
            if time.monotonic() >= began + self._patience:
                raise WorkerError(
                    UNAVAILABLE,
                    f"gave up waiting after {self._patience:g} s for another task that {what_others_do} "
                    f"{self._environment}. See its log, or set DKIST_BUILD_WAIT_SECONDS to a longer time.",
                )
            time.sleep(LOCK_POLL_SECONDS)


def describe_os_error(error: OSError, path: Path) -> str:
    """
    Return what the system says of a file that cannot be written, and what to do about that.

    ``path`` is the file, or what should contain it.
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


def is_same_file(descriptor: int, path: Path) -> bool:
    """Return whether a file that is open is still the one that its folder has."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
