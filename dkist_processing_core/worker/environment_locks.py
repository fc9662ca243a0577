"""
The locks of an environment, which prevent other processes from building or removing it while a task uses it.

Runs in: worker. Beside the folder of an environment are two lock files (:manpage:`flock(2)`). Every task that runs in
the environment holds a shared lock on ``.use``, whose modification time is when the last task began. The process that
builds the environment holds an exclusive lock on ``.build``. A process that holds both exclusively may remove the
environment, and the lock files too, since a process that has opened a lock file checks that it is still the one in the
folder. All of this is part of the ABI: another release of this library may share the cache.
"""

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dkist_processing_core.worker import log
from dkist_processing_core.worker.cache import REMEDY
from dkist_processing_core.worker.errors import MISCONFIGURED, UNAVAILABLE, WorkerError, describe_os_error
from dkist_processing_core.worker.permissions import is_writable

__all__ = ["LOCK_SUFFIXES", "EnvironmentLocks", "is_same_file", "lock_paths"]

LOCK_SUFFIXES = (".use", ".build")
POLL_SECONDS = 0.05
LOG_SECONDS = 0.5


def lock_paths(environment: Path) -> tuple[Path, Path]:
    """Return the two locks of an environment: for its users, and for its builder."""
    use, build = (environment.with_name(environment.name + suffix) for suffix in LOCK_SUFFIXES)
    return use, build


def is_same_file(descriptor: int, path: Path) -> bool:
    """Return whether an open file is still the one with this path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


class EnvironmentLocks:
    """
    The locks of an environment, held by this process and by programs that inherit ``descriptors``.

    Acquiring a lock takes at most ``patience`` seconds. ``check`` is called meanwhile, and ends the wait by raising.
    """

    def __init__(self, environment: Path, *, patience: float, check: Callable[[], None]) -> None:
        self._environment = environment
        self._patience = patience
        self._check = check
        self.descriptors: list[int] = []
        if is_writable(environment.parent):
            self._open()
            os.utime(self.descriptors[0])
        else:
            self._open_read_only()

    def _open(self) -> None:
        # The removal of an environment includes its locks. A lock file that was deleted protects nothing.
        while not self._are_current():
            self._close()
            try:
                self.descriptors = [
                    os.open(each, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                    for each in lock_paths(self._environment)
                ]
            except OSError as error:
                raise WorkerError(
                    UNAVAILABLE,
                    f"the lock {error.filename} cannot be opened: {describe_os_error(error, Path(error.filename))}",
                ) from error
            self._acquire(self.descriptors[0], fcntl.LOCK_SH, "is removing")

    def _open_read_only(self) -> None:
        """Hold the lock for users if it exists and can be read; there are no builds in a read-only cache."""
        with suppress(OSError):
            self.descriptors = [os.open(lock_paths(self._environment)[0], os.O_RDONLY)]
            self._acquire(self.descriptors[0], fcntl.LOCK_SH, "is removing")

    def _are_current(self) -> bool:
        return bool(self.descriptors) and all(map(is_same_file, self.descriptors, lock_paths(self._environment)))

    def _close(self) -> None:
        while self.descriptors:
            os.close(self.descriptors.pop())

    def begin_build(self) -> None:
        """Wait until no other process builds the environment, and prevent others from building it."""
        is_begun = False
        while not is_begun:
            # While this process waits it does not use the environment, and must not prevent its replacement.
            fcntl.flock(self.descriptors[0], fcntl.LOCK_UN)
            self._acquire(self.descriptors[1], fcntl.LOCK_EX, "is building")
            self._acquire(self.descriptors[0], fcntl.LOCK_SH, "is removing")
            is_begun = self._are_current()
            self._open()

    def wait_for_users(self) -> None:
        """Wait until no other task runs in the environment, before it is replaced."""
        self._acquire(self.descriptors[0], fcntl.LOCK_EX, "runs in")
        fcntl.flock(self.descriptors[0], fcntl.LOCK_SH)

    def end_build(self) -> None:
        """Release the lock for the builder, and keep the lock for users."""
        while len(self.descriptors) > 1:
            os.close(self.descriptors.pop())

    def _acquire(self, descriptor: int, operation: int, what_others_do: str) -> None:
        # Not a blocking call, since signals must be checked meanwhile.
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
            # A process that only lists environments holds their locks for a moment, which is not worth a line.
            if not is_logged and time.monotonic() >= began + LOG_SECONDS:
                log.info(f"another task {what_others_do} this environment; waiting for it")
                is_logged = True
            if time.monotonic() >= began + self._patience:
                raise WorkerError(
                    UNAVAILABLE,
                    f"gave up waiting after {self._patience:g} s for another task that {what_others_do} "
                    f"{self._environment}. See its log, or set DKIST_BUILD_WAIT_SECONDS to a longer time.",
                )
            time.sleep(POLL_SECONDS)
