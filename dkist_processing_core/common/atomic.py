"""
Files that readers see complete or not at all.

Runs in: author and CI, worker.
"""

import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["lock", "read", "write_files", "write_text"]

READABLE = 0o644
TEMPORARY_SUFFIX = ".part"
STALE_SECONDS = 3600
RANDOM_BYTES = 4  # so that two writers of one file use different names


def write_text(path: Path, text: str) -> Path:
    """
    Write a file as `write_files` does, as UTF-8 with the line ends as they are, and return its path.

    If the path exists and is not a regular file, such as a device, it is not replaced; this raises an `OSError`.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise FileExistsError(errno.EEXIST, "it is not a regular file, so it is not replaced", str(path))
    write_files(path.parent, {path.name: text.encode()})
    return path


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """
    Write several files, all of them or none. A reader sees the old content of a file or the new one, never a part.

    The keys of ``contents`` are paths relative to the folder, which must exist. A file that already has its content is
    not touched. After an `OSError`, existing files are unchanged.
    """
    changed = {folder / name: content for name, content in contents.items() if read(folder / name) != content}
    for path in changed:
        if path.is_dir():
            raise _error(path, errno.EISDIR)
    temporary: dict[Path, str] = {}
    try:
        for path, content in changed.items():
            temporary[path] = _write_temporary(path, content)
        _replace(temporary)
    finally:
        _remove(temporary.values())
    _remove_stale({folder / name for name in contents})


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Wait for the exclusive lock of a folder, and hold it; on a file system without locks, go on without one."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(temporary: Mapping[Path, str]) -> None:
    """Rename each temporary file to its path; if one of them cannot be renamed, restore all."""
    # A single rename needs no backup.
    backups = {path: _back_up(path) if len(temporary) > 1 and path.exists() else None for path in temporary}
    replaced = []
    try:
        for path, name in temporary.items():
            os.replace(name, path)
            replaced.append(path)
    except BaseException:
        for path in replaced:
            with suppress(OSError):
                if (backup := backups[path]) is None:
                    os.unlink(path)
                else:
                    os.replace(backup, path)
        raise
    finally:
        _remove(filter(None, backups.values()))


def _back_up(path: Path) -> str:
    """Link a file to a second name, under which its content stays when the file is replaced."""
    name = _temporary_name(path)
    try:
        os.link(path, name)
    except OSError:  # not every file system has links
        return _write_temporary(path, path.read_bytes())
    return name


def _write_temporary(path: Path, content: bytes) -> str:
    """Write a temporary file in the folder of a path, and return its name."""
    name = _temporary_name(path)
    try:
        with os.fdopen(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, READABLE), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        _remove([name])
        if isinstance(error, OSError):
            # An error with the name of the temporary file would only confuse.
            raise _error(path, error.errno) from error
        raise
    return name


def _remove(names: Iterable[str]) -> None:
    for name in names:
        with suppress(OSError):
            os.unlink(name)


def _remove_stale(paths: Iterable[Path]) -> None:
    """Remove the temporary files that killed writers of these paths left behind."""
    for folder in {path.parent for path in paths}:
        prefixes = "|".join(re.escape(_temporary_prefix(path)) for path in paths if path.parent == folder)
        ours = re.compile(f"(?:{prefixes})[0-9a-f]{{{2 * RANDOM_BYTES}}}{re.escape(TEMPORARY_SUFFIX)}")
        for file in folder.glob(f".*{TEMPORARY_SUFFIX}"):
            with suppress(OSError):
                status = file.lstat()
                is_stale = stat.S_ISREG(status.st_mode) and time.time() - status.st_mtime > STALE_SECONDS
                if ours.fullmatch(file.name) and is_stale:
                    file.unlink()


def _temporary_name(path: Path) -> str:
    return str(path.parent / f"{_temporary_prefix(path)}{os.urandom(RANDOM_BYTES).hex()}{TEMPORARY_SUFFIX}")


def _temporary_prefix(path: Path) -> str:
    # With a dot and no .py at the end, so the DAG processor never takes it for a DAG file. A name has at most 255
    # characters.
    return f".{path.name[:200]}."


def _error(path: Path, number: int | None) -> OSError:
    return OSError(number, os.strerror(number or 0), str(path))


def read(path: Path) -> bytes | None:
    """Return the content of a regular file, None if it cannot be read; a FIFO would wait for its writer for ever."""
    try:
        return path.read_bytes() if path.is_file() else None
    except OSError:
        return None
