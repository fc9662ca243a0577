"""
The cache of task environments: its layout, and the mark of what this library has made.

Runs in: worker. ``DKIST_ENVIRONMENT_CACHE/v1`` contains one folder per environment, whose name is a key of
`worker.key`. This folder and each environment contain an empty file ``.dkist-processing-core``. A folder without this
file, or with a name of another form, is not ours and is never removed. All of this is part of the ABI: another release
of this library may share the cache.
"""

import errno
import os
import re
import shutil
from pathlib import Path

from dkist_processing_core.worker.errors import MISCONFIGURED, WorkerError, describe_os_error
from dkist_processing_core.worker.permissions import check_owner, is_writable

__all__ = [
    "LAYOUT",
    "OWNER_MARK",
    "REMEDY",
    "check_cache",
    "delete",
    "has_name_of_environment",
    "is_ours",
    "mark_as_ours",
    "open_cache",
    "sync_folder",
]

LAYOUT = "v1"
OWNER_MARK = ".dkist-processing-core"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._!+-]*-[0-9a-f]{64}")
PRIVATE = 0o700
OWNER_REMEDY = (
    "Make sure that nobody else has put anything in it, then correct its owner and mode with chown and chmod go-w; or "
    "set DKIST_ENVIRONMENT_CACHE to a folder with the right owner and mode."
)
REMEDY = "Set DKIST_ENVIRONMENT_CACHE to a folder on a local disk that belongs to the user of the worker."


def open_cache(root: Path) -> Path:
    """
    Return the folder of the environments in a cache. It is created if it does not exist.

    A folder that other users could write to is refused, since they could change the code of tasks.
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
    Raise the errors of `open_cache`, and return the folder of the environments without creating it.

    It need not exist if it can be created.
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


def has_name_of_environment(name: str) -> bool:
    """Return whether a name has the form of the name of an environment."""
    return NAME.fullmatch(name) is not None


def is_ours(folder: Path) -> bool:
    """Return whether this library created a folder, which is a cache or an environment."""
    return not folder.is_symlink() and (folder / OWNER_MARK).is_file()


def mark_as_ours(folder: Path) -> None:
    """Mark a folder as created by this library. The mark is on the disk before anything else is written."""
    if not (folder / OWNER_MARK).exists():
        os.close(os.open(folder / OWNER_MARK, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644))
        sync_folder(folder)
        sync_folder(folder.parent)


def delete(folder: Path) -> None:
    """Remove a folder of ours. The mark is removed last, so that the remains of an interrupted removal stay ours."""
    for each in folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        elif each.name != OWNER_MARK:
            each.unlink()
    (folder / OWNER_MARK).unlink()
    folder.rmdir()


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
