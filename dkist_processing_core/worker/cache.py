"""
The cache of task environments: its layout, its locks, and the markers of what is ours and of what is complete.

Runs in: worker. ``DKIST_ENVIRONMENT_CACHE/v1`` holds one folder for each environment. It and each environment contain
an empty file ``.dkist-processing-core``; whatever lacks it, or has a name of another form, belongs to somebody else and
is never removed. Beside the folder of an environment lie two files that processes lock (:manpage:`flock(2)`): ``.use``
is locked shared by every task that runs in the environment, and its modification time is when the last one began;
``.build`` is locked exclusively by whoever builds it. Whoever holds both exclusively may remove the environment, and
the locks too, since a process that has opened a lock checks that the file is still the one in the folder. All of this
is part of the ABI: another release of this library may share the cache.
"""

import errno
import fcntl
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from dkist_processing_core.worker import log
from dkist_processing_core.worker.errors import MISCONFIGURED, UNAVAILABLE, WorkerError

__all__ = [
    "LAYOUT",
    "LOCK_SUFFIXES",
    "MARKER",
    "OWNER_MARK",
    "EnvironmentLocks",
    "check_cache",
    "damage",
    "delete",
    "describe_os_error",
    "has_name_of_environment",
    "is_ours",
    "is_private",
    "is_same_file",
    "is_writable",
    "lock_paths",
    "mark_as_ours",
    "open_cache",
    "read_marker",
    "replaceable_in",
    "write_marker",
]

LAYOUT = "v1"
LOCK_SUFFIXES = (".use", ".build")
MARKER = ".ready"
OWNER_MARK = ".dkist-processing-core"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._!+-]*-[0-9a-f]{64}")
PRIVATE = 0o700
WRITABLE_BY_OTHERS = 0o022
LOCK_POLL_SECONDS = 0.05
LOG_SECONDS = 0.5
OWNER_REMEDY = (
    "Make sure that nobody else has put anything in it, then correct its owner and mode with chown and chmod go-w; or "
    "set DKIST_ENVIRONMENT_CACHE to a folder with the right owner and mode."
)
REMEDY = "Set DKIST_ENVIRONMENT_CACHE to a folder on a local disk that belongs to the user of the worker."


def open_cache(root: Path) -> Path:
    """
    Return the folder of the environments in a cache, which is made if it does not exist.

    One that others could write to is refused, since they would decide what a task runs.
    """
    _check_path(root)
    try:
        (root / LAYOUT).mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        folder = _checked_folder(root)
        if is_writable(folder):
            mark_as_ours(folder)
    except OSError as error:
        raise _unusable(root, error) from error
    return folder


def check_cache(root: Path) -> Path:
    """
    Raise what `open_cache` would raise, and return the folder of the environments; nothing is made.

    It need not exist, if it can be made.
    """
    _check_path(root)
    try:
        if (root / LAYOUT).exists():
            return _checked_folder(root)
        _check_makeable(root)
    except OSError as error:
        raise _unusable(root, error) from error
    return root / LAYOUT


def _check_makeable(root: Path) -> None:
    existing = next(each for each in (root, *root.parents) if os.path.lexists(each))
    number = 0
    if not existing.is_dir():
        number = errno.ENOTDIR
    elif not is_writable(existing):
        number = errno.EROFS if os.statvfs(existing).f_flag & os.ST_RDONLY else errno.EACCES
    if number:
        raise OSError(number, os.strerror(number), str(existing))


def _check_path(root: Path) -> None:
    if not root.is_absolute():
        # Airflow starts each task in a temporary folder of its own.
        raise WorkerError(MISCONFIGURED, f"the environment cache {str(root)!r} is not an absolute path. {REMEDY}")
    if not str(root).isprintable() or os.pathsep in str(root):
        raise WorkerError(
            MISCONFIGURED,
            f"the path of the environment cache {str(root)!r} contains a character that a virtual environment does not "
            f"allow: a colon, a line break, or another non-printable character. {REMEDY}",
        )


def _checked_folder(root: Path) -> Path:
    folder = (root / LAYOUT).resolve()
    check_owner(folder, f"the environment cache {folder}", OWNER_REMEDY)
    if not os.access(folder, os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return folder


def _unusable(root: Path, error: OSError) -> WorkerError:
    return WorkerError(
        MISCONFIGURED,
        f"the environment cache {root} cannot be written: {describe_os_error(error, root)} {REMEDY}",
    )


def is_writable(folder: Path) -> bool:
    """Return whether this process may write to a folder; an image may bring a cache that it may only read."""
    return os.access(folder, os.W_OK | os.X_OK)


def check_owner(path: Path, name: str, remedy: str) -> None:
    """
    Raise `WorkerError` if anybody but this user and root could have written a file or folder, or could replace it.

    On a file system that is mounted to be read only, nobody can.
    """
    status = path.lstat()
    if not is_private(status) and not os.statvfs(path).f_flag & os.ST_RDONLY:
        raise WorkerError(
            MISCONFIGURED,
            f"{name} belongs to user {status.st_uid} and has mode {stat.S_IMODE(status.st_mode):o}; it must belong to "
            f"user {os.geteuid()} or to root, and nobody else may write to it. {remedy}",
        )


def is_private(status: os.stat_result) -> bool:
    """Return whether nobody but this user and root may write to a file or folder."""
    return status.st_uid in {os.geteuid(), 0} and not status.st_mode & WRITABLE_BY_OTHERS


def replaceable_in(folder: Path) -> Path | None:
    """Return the folder above another one in which others may put something in its place; None if there is none."""
    for parent in folder.parents:
        status = parent.stat()
        is_sticky = status.st_mode & stat.S_ISVTX and status.st_uid in {os.geteuid(), 0}
        if not (is_sticky or is_private(status)):
            return parent
    return None


def has_name_of_environment(name: str) -> bool:
    """Return whether a folder could be an environment, by its name."""
    return NAME.fullmatch(name) is not None


def is_ours(folder: Path) -> bool:
    """Return whether this library has made a folder: a cache, or an environment."""
    return not folder.is_symlink() and (folder / OWNER_MARK).is_file()


def mark_as_ours(folder: Path) -> None:
    """Mark a folder as made by this library; the mark outlasts a power cut, whatever is written after it."""
    if not (folder / OWNER_MARK).exists():
        os.close(os.open(folder / OWNER_MARK, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644))
        sync_folder(folder)
        sync_folder(folder.parent)


def delete(folder: Path) -> None:
    """Remove a folder that is ours, the mark last, so that what an interruption leaves is known to be ours."""
    for each in folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        elif each.name != OWNER_MARK:
            each.unlink()
    (folder / OWNER_MARK).unlink()
    folder.rmdir()


def sync_folder(folder: Path) -> None:
    """Return when the entries of a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock_paths(environment: Path) -> tuple[Path, Path]:
    """Return the locks of an environment: for those who use it, and for whoever builds it."""
    use, build = (environment.with_name(environment.name + suffix) for suffix in LOCK_SUFFIXES)
    return use, build


def damage(environment: Path) -> str | None:
    """
    Return what is wrong with an environment, empty if it was never completed, None if it can be used.

    A power cut, or a disk that fails, leaves files that are empty or shorter than they were. So the size of each file
    is compared, which takes a few milliseconds. A file that has grown, or that a task has added, is no damage.
    """
    try:
        for path in (environment, environment / MARKER):
            check_owner(path, f"the environment {path}", f"Remove {environment}; it will be built again.")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    marker = read_marker(environment)
    if not marker:
        return ""
    files = marker.get("files")
    for name, size in files.items() if isinstance(files, dict) else ():
        try:
            found = os.stat(f"{environment}/{name}").st_size  # noqa: PTH116 - half the time, for thousands of files
        except OSError as error:
            return f"{name}: {error.strerror}"
        if found < size:
            return f"{name} has {found} bytes instead of {size}"
    return None if os.access(environment / "bin" / "python", os.X_OK) else "bin/python cannot be started"


def read_marker(environment: Path) -> dict[str, object]:
    """Return what the marker of an environment says; empty if the environment was never completed."""
    file = environment / MARKER
    try:
        content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}  # a FIFO would wait
    except (OSError, RecursionError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_marker(environment: Path, content: Mapping[str, object]) -> None:
    """Mark an environment as complete, after all else is on the disk, with the size of each of its files."""
    from dkist_processing_core.common.atomic import write_text

    marker = {**content, "files": dict(sorted(_sizes(environment)))}
    write_text(environment / MARKER, json.dumps(marker, indent=1) + "\n")
    sync_folder(environment)


def _sizes(environment: Path) -> Iterator[tuple[str, int]]:
    """Yield the path and the size of each file, but not of the compiled ones, which Python writes anew."""
    for parent, _, names in os.walk(environment):
        for name in names:
            path = Path(parent, name)
            # A link counts as what it leads to, which with UV_LINK_MODE=symlink is in uv's cache.
            if path.suffix != ".pyc" and path.is_file():
                yield str(path.relative_to(environment)), path.stat().st_size


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
        if is_writable(environment.parent):
            self._open()
            os.utime(self.descriptors[0])
        else:
            self._open_read_only()

    def _open(self) -> None:
        # Whoever removes an environment removes its locks; a file that is no longer in the folder protects nothing.
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
        """Hold the lock of those who use the environment if there is one that can be read; nobody builds here."""
        with suppress(OSError):
            self.descriptors = [os.open(lock_paths(self._environment)[0], os.O_RDONLY)]
            self._acquire(self.descriptors[0], fcntl.LOCK_SH, "is removing")

    def _are_current(self) -> bool:
        return bool(self.descriptors) and all(map(is_same_file, self.descriptors, lock_paths(self._environment)))

    def _close(self) -> None:
        while self.descriptors:
            os.close(self.descriptors.pop())

    def begin_build(self) -> None:
        """Wait until nobody else builds the environment, and keep others from building it."""
        is_begun = False
        while not is_begun:
            # Whoever only waits does not use the environment, and keeps nobody from replacing it.
            fcntl.flock(self.descriptors[0], fcntl.LOCK_UN)
            self._acquire(self.descriptors[1], fcntl.LOCK_EX, "is building")
            self._acquire(self.descriptors[0], fcntl.LOCK_SH, "is removing")
            is_begun = self._are_current()
            self._open()

    def wait_for_users(self) -> None:
        """Wait until no other task runs in the environment, which is about to be replaced."""
        self._acquire(self.descriptors[0], fcntl.LOCK_EX, "runs in")
        fcntl.flock(self.descriptors[0], fcntl.LOCK_SH)

    def end_build(self) -> None:
        """Let others build; the lock of those who use the environment stays."""
        while len(self.descriptors) > 1:
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
