"""
The task environments that a worker keeps: list them, and remove those that are old or exceed the size limit.

Runs in: worker, where the worker program collects after it has built an environment. `worker.environment_locks`
describes how environments are locked, and `worker.cache` how ours are recognized. Everything else in a cache stays.
"""

import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dkist_processing_core.common.settings import cache_folder
from dkist_processing_core.exceptions import ConfigurationError
from dkist_processing_core.worker import log
from dkist_processing_core.worker.cache import LAYOUT, OWNER_MARK, delete, has_name_of_environment, is_ours
from dkist_processing_core.worker.environment_locks import LOCK_SUFFIXES, is_same_file, lock_paths
from dkist_processing_core.worker.installer_folders import INSTALLER_FOLDER
from dkist_processing_core.worker.limits import max_age, max_size
from dkist_processing_core.worker.marker import read_marker
from dkist_processing_core.worker.permissions import is_writable

__all__ = [
    "Environment",
    "collect",
    "environments",
    "prune",
    "remove",
    "strangers",
]

REMOVED = re.compile(r"\.removed-\d+-(.+)")
ABANDONED_SECONDS = 3600.0
ATTEMPTS = 5
PAUSE_SECONDS = 0.01


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One environment in a cache."""

    path: Path
    requirement: str  # from which it was built; empty if its build was not completed
    size: int  # in bytes; files that it shares with an installer's cache count in full
    last_used: datetime  # when a task last began to run in it
    is_in_use: bool  # whether a task is running in it, or it is being built

    @property
    def name(self) -> str:
        """Name of its folder."""
        return self.path.name

    @property
    def is_ready(self) -> bool:
        """Whether its build was completed."""
        return bool(self.requirement)


def environments(folder: Path | None = None, check: Callable[[], None] = lambda: None) -> list[Environment]:
    """Return the environments in a cache, by default `cache_folder`, the least recently used first."""
    found = []
    for each in _entries(folder):
        if has_name_of_environment(each.name) and is_ours(each):
            check()
            found.append(_describe(each))
    return sorted(found, key=lambda each: (each.last_used, each.name))


def strangers(folder: Path | None = None) -> list[Path]:
    """Return the entries of the folder of the environments that are not ours; all of them if it lacks our mark."""
    layout = _layout(folder)
    if not is_ours(layout):
        return sorted(layout.iterdir()) if layout.is_dir() else []
    others = (each for each in layout.iterdir() if each.name not in {OWNER_MARK, INSTALLER_FOLDER})
    return sorted(each for each in others if not (_is_lock(each) or _is_folder(each)))


def remove(environment: Environment) -> bool:
    """Remove an environment unless it is in use, and return whether it was removed."""
    with _exclusively(environment.path) as is_free:
        if is_free:
            # Renamed first, so that an interrupted removal leaves nothing that looks like a complete environment.
            doomed = environment.path.with_name(f".removed-{os.getpid()}-{environment.name}")
            if is_ours(environment.path):
                environment.path.rename(doomed)
                delete(doomed)
            _remove_locks(environment.path)
    return is_free


def prune(
    folder: Path | None = None,
    *,
    older_than: timedelta | None = None,
    max_size: int | None = None,
    is_dry_run: bool = False,
    check: Callable[[], None] = lambda: None,
) -> list[Environment]:
    """
    Remove the environments that were not used for too long, then the least recently used ones until the rest fits.

    The remains of interrupted builds and removals are also removed. An environment in use stays, whatever its age.
    Return the environments that were removed, or would have been. ``check`` is called repeatedly, and ends this by
    raising.
    """
    if not is_dry_run:
        _tidy(folder)
    known = environments(folder, check)
    total = sum(each.size for each in known)
    now = datetime.now(UTC)
    removed = []
    for each in known:
        check()
        is_too_old = older_than is not None and now - each.last_used > older_than
        is_too_much = max_size is not None and total > max_size
        if each.is_in_use or (each.is_ready and not is_too_old and not is_too_much):
            continue
        if is_dry_run or remove(each):
            removed.append(each)
            total -= each.size
    return removed


def _layout(folder: Path | None) -> Path:
    return ((folder or cache_folder()) / LAYOUT).resolve()


def _entries(folder: Path | None) -> list[Path]:
    """Return the entries of the folder of the environments; none if the folder is not ours."""
    layout = _layout(folder)
    return list(layout.iterdir()) if is_ours(layout) else []


def _is_lock(path: Path) -> bool:
    """Return whether a file is the lock of an environment, which need not exist any more."""
    if path.suffix not in LOCK_SUFFIXES or not has_name_of_environment(path.stem):
        return False
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and not status.st_size


def _is_folder(path: Path) -> bool:
    """Return whether a folder is an environment, or the remains of one after an interrupted removal."""
    name = match[1] if (match := REMOVED.fullmatch(path.name)) else path.name
    return has_name_of_environment(name) and is_ours(path)


def _describe(path: Path) -> Environment:
    use, _ = lock_paths(path)
    try:
        last_used = (use if use.exists() else path).stat().st_mtime
    except FileNotFoundError:  # another process is removing it
        last_used = time.time()
    is_in_use = True
    mode = "r+" if is_writable(path.parent) else "r"
    for _ in range(ATTEMPTS):
        # Another process that only lists environments, as this one does, holds the locks for a moment.
        with _exclusively(path, mode) as is_free:
            is_in_use = not is_free
        if not is_in_use:
            break
        time.sleep(PAUSE_SECONDS)
    return Environment(
        path=path,
        requirement=str(read_marker(path).get("requirement", "")),
        size=_size(path),
        last_used=datetime.fromtimestamp(last_used, UTC),
        is_in_use=is_in_use,
    )


@contextmanager
def _exclusively(path: Path, mode: str = "a") -> Iterator[bool]:
    """
    Hold both locks of an environment unless another process holds one; yield whether they are held.

    Nothing is written, so that the modification time stays that of the last use. With ``r+`` and ``r``, a lock that
    does not exist is not created, and counts as acquired; with ``r``, so does one that cannot be read.
    """
    with ExitStack() as held:
        is_free = True
        for lock in lock_paths(path):
            try:
                file = held.enter_context(lock.open(mode))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except FileNotFoundError:
                continue
            except PermissionError:
                if mode != "r":
                    raise
            except BlockingIOError:
                is_free = False
            else:
                # The removal of an environment includes its locks. A lock file that was deleted protects nothing.
                is_free = is_same_file(file.fileno(), lock)
            if not is_free:  # opening the next one would create it again
                break
        yield is_free


def _tidy(folder: Path | None) -> None:
    """Remove the remains of interrupted removals, and the locks of failed builds."""
    entries = _entries(folder)
    for leftover in entries:
        # Another process may be removing it.
        with suppress(FileNotFoundError):
            is_removed = REMOVED.fullmatch(leftover.name) and _is_folder(leftover)
            if is_removed and time.time() - leftover.stat().st_ctime > ABANDONED_SECONDS:
                delete(leftover)
    for path in {each.with_suffix("") for each in entries if _is_lock(each)}:
        if not path.exists():
            with _exclusively(path) as is_free:
                if is_free and not path.exists():
                    _remove_locks(path)


def _remove_locks(path: Path) -> None:
    for lock in filter(_is_lock, lock_paths(path)):
        lock.unlink(missing_ok=True)


def _size(path: Path) -> int:
    """Return the disk usage of a folder in bytes; a file with several links in it counts once."""
    sizes = {}
    for parent, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError):
                status = Path(parent, name).lstat()
                sizes[status.st_ino] = status.st_blocks * 512
    return sum(sizes.values())


def collect(folder: Path, check: Callable[[], None]) -> None:
    """Apply ``DKIST_ENVIRONMENT_MAX_AGE`` and ``_SIZE`` to a cache; a failure is only a warning in the log."""
    try:
        removed = prune(
            folder,
            older_than=max_age(os.environ),
            max_size=max_size(os.environ),
            check=check,
        )
    except (ConfigurationError, OSError) as error:
        log.warning(f"unused environments could not be removed: {error}")
    else:
        for each in removed:
            log.info(f"removed the unused environment {each.path}")
