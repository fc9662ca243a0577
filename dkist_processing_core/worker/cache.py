"""
The task environments that a worker keeps: list them, and remove those that have served their time.

Runs in: worker, and task environment, from where the task script starts it after it has built a new one. It needs the
standard library alone. Beside the folder of each environment lie two files that processes lock (:manpage:`flock(2)`):
``.use`` is locked shared by every task that runs in it, and its modification time tells when one began last; ``.build``
is locked exclusively by whoever builds it. Who holds both exclusively may remove the environment, and the locks too,
since a task that has opened a lock looks whether it is still the one that lies there.
"""

import argparse
import fcntl
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dkist_processing_core.exceptions import ConfigurationError

__all__ = ["Environment", "cache_folder", "environments", "parse_age", "parse_size", "prune", "remove"]

MARKER = ".ready"
REMOVED = ".removed-"
ABANDONED_SECONDS = 3600.0
ATTEMPTS = 5
PAUSE_SECONDS = 0.01
DEFAULT_MAX_AGE = "30d"
DEFAULT_MAX_SIZE = "50G"
UNITS_OF_SIZE = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
UNITS_OF_AGE = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, kw_only=True)
class Environment:
    """
    One environment in a cache.

    Attributes
    ----------
    path
        Its folder.
    requirement
        What it was built from; empty if its building was never finished.
    size
        Disk space that it takes, in bytes. Files that it shares with an installer's cache count in full.
    last_used
        When a task last began to run in it.
    is_in_use
        Whether a task runs in it, or somebody builds it, at this moment.
    """

    path: Path
    requirement: str
    size: int
    last_used: datetime
    is_in_use: bool

    @property
    def name(self) -> str:
        """Name of its folder, which is the key that it was built for."""
        return self.path.name

    @property
    def is_ready(self) -> bool:
        """Whether it was built to the end."""
        return bool(self.requirement)


def cache_folder() -> Path:
    """Return the folder that the task script keeps environments in (``DKIST_ENVIRONMENT_CACHE``)."""
    configured = os.environ.get("DKIST_ENVIRONMENT_CACHE")
    if configured:
        return Path(configured)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "dkist-processing-core" / "environments"


def environments(folder: Path | None = None) -> list[Environment]:
    """
    Return the environments in a cache, the one that was not used for the longest time first.

    Parameters
    ----------
    folder
        The cache, `cache_folder` by default.
    """
    folder = folder or cache_folder()
    if not folder.is_dir():
        return []
    found = [_describe(each) for each in folder.iterdir() if each.is_dir() and not each.name.startswith(".")]
    return sorted(found, key=lambda each: (each.last_used, each.name))


def remove(environment: Environment) -> bool:
    """
    Remove an environment unless it is in use.

    Returns
    -------
    bool
        Whether it was removed.

    Raises
    ------
    OSError
        If it cannot be removed.
    """
    with _exclusively(environment.path) as is_free:
        if is_free:
            # Renamed first, so that not even a removal that is interrupted leaves a part that looks like a whole.
            doomed = environment.path.with_name(f"{REMOVED}{os.getpid()}-{environment.name}")
            if environment.path.exists():
                environment.path.rename(doomed)
                shutil.rmtree(doomed)
            for lock in _locks(environment.path):
                lock.unlink(missing_ok=True)
    return is_free


def prune(
    folder: Path | None = None,
    *,
    older_than: timedelta | None = None,
    max_size: int | None = None,
    is_dry_run: bool = False,
) -> list[Environment]:
    """
    Remove the environments that were not used for too long, then the least recently used ones until the rest fits.

    What an interrupted build or removal left behind goes as well. What is in use stays, whatever its age.

    Parameters
    ----------
    folder
        The cache, `cache_folder` by default.
    older_than
        Remove what no task has begun to use for longer than this.
    max_size
        Remove until all environments together take no more than this, in bytes.
    is_dry_run
        Remove nothing.

    Returns
    -------
    list of Environment
        What was removed, or would have been.
    """
    folder = folder or cache_folder()
    if not is_dry_run:
        _tidy(folder)
    known = environments(folder)
    total = sum(each.size for each in known)
    now = datetime.now(UTC)
    removed = []
    for each in known:
        is_too_old = older_than is not None and now - each.last_used > older_than
        is_too_much = max_size is not None and total > max_size
        if each.is_in_use or (each.is_ready and not is_too_old and not is_too_much):
            continue
        if is_dry_run or remove(each):
            removed.append(each)
            total -= each.size
    return removed


def parse_age(text: str) -> timedelta:
    """
    Return the time that a text such as ``30d`` stands for; units are s, m, h, d and w.

    Raises
    ------
    ConfigurationError
        If it stands for none. It is also a `ValueError`.
    """
    match = re.fullmatch(r"(\d+)([smhdw])", text.strip())
    if match is None:
        raise ConfigurationError(f"{text!r} is no age; give a number with a unit of s, m, h, d or w, such as 30d")
    try:
        return timedelta(**{UNITS_OF_AGE[match[2]]: int(match[1])})
    except OverflowError:
        raise ConfigurationError(f"{text!r} is too long an age; leave the limit out instead") from None


def parse_size(text: str) -> int:
    """
    Return the number of bytes that a text such as ``50G`` stands for; units are K, M, G and T, powers of 1024.

    Raises
    ------
    ConfigurationError
        If it stands for none. It is also a `ValueError`.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text.strip().upper())
    if match is None:
        raise ConfigurationError(f"{text!r} is no size; give a number of bytes, or one with K, M, G or T, such as 50G")
    return int(float(match[1]) * UNITS_OF_SIZE[match[2]])


def _describe(path: Path) -> Environment:
    marker = path / MARKER
    try:
        requirement = marker.read_text(encoding="utf-8").strip()
    except OSError:
        requirement = ""
    use, _ = _locks(path)
    try:
        last_used = (use if use.exists() else path).stat().st_mtime
    except FileNotFoundError:  # somebody removes it at this moment
        last_used = time.time()
    is_in_use = True
    for _ in range(ATTEMPTS):
        # Somebody else who only looks, as this does, holds the locks for a moment.
        with _exclusively(path) as is_free:
            is_in_use = not is_free
        if not is_in_use:
            break
        time.sleep(PAUSE_SECONDS)
    return Environment(
        path=path,
        requirement=requirement,
        size=_size(path),
        last_used=datetime.fromtimestamp(last_used, UTC),
        is_in_use=is_in_use,
    )


def _locks(path: Path) -> tuple[Path, Path]:
    return path.with_name(f"{path.name}.use"), path.with_name(f"{path.name}.build")


@contextmanager
def _exclusively(path: Path) -> Iterator[bool]:
    """Hold both locks of an environment, if nobody else holds one; tell whether that is so."""
    with ExitStack() as held:
        is_free = True
        for lock in _locks(path):
            # Opened without writing, so that the modification time goes on telling when it was used.
            file = held.enter_context(lock.open("a"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Who removes an environment removes its locks; one that does not lie there any more protects nothing.
                is_free = os.path.samestat(os.fstat(file.fileno()), lock.stat())
            except (BlockingIOError, FileNotFoundError):
                is_free = False
            if not is_free:
                break
        yield is_free


def _tidy(folder: Path) -> None:
    """Remove what removals that were interrupted, and builds that failed, have left behind."""
    for leftover in folder.glob(f"{REMOVED}*"):
        # What somebody else is removing at this moment is theirs.
        with suppress(FileNotFoundError):
            if time.time() - leftover.stat().st_ctime > ABANDONED_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)
    for lock in folder.glob("*.use"):
        path = lock.with_name(lock.name.removesuffix(".use"))
        if not path.exists():
            with _exclusively(path) as is_free:
                if is_free and not path.exists():
                    for each in _locks(path):
                        each.unlink(missing_ok=True)


def _size(path: Path) -> int:
    """Return the disk space of a folder in bytes, what is linked within it counted once."""
    seen: set[int] = set()
    total = 0
    for parent, _, names in os.walk(path):
        for name in names:
            try:
                status = Path(parent, name).lstat()
            except FileNotFoundError:
                continue
            if status.st_ino not in seen:
                seen.add(status.st_ino)
                total += status.st_blocks * 512
    return total


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Remove what the limits in the environment say, for the task script; return the exit status.

    ``DKIST_ENVIRONMENT_MAX_AGE`` is an age (``30d``), ``DKIST_ENVIRONMENT_MAX_SIZE`` a size (``50G``).
    """
    parser = argparse.ArgumentParser(prog="python -m dkist_processing_core.worker.cache", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="the cache")
    options = parser.parse_args(arguments)
    try:
        removed = prune(
            options.folder,
            older_than=parse_age(os.environ.get("DKIST_ENVIRONMENT_MAX_AGE") or DEFAULT_MAX_AGE),
            max_size=parse_size(os.environ.get("DKIST_ENVIRONMENT_MAX_SIZE") or DEFAULT_MAX_SIZE),
        )
    except (ConfigurationError, OSError) as error:
        sys.stdout.write(f"unused environments could not be removed: {error}\n")
        return 1
    for each in removed:
        sys.stdout.write(f"removed the unused environment {each.path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
