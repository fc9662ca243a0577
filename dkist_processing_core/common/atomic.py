"""
Files that are there whole or not at all.

Runs in: author and CI, worker.
"""

import errno
import fcntl
import os
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["alone", "write_bytes", "write_text", "write_texts"]

READABLE = 0o644
UNFINISHED = ".part"
UNFINISHED_SECONDS = 3600
RANDOM = 8  # characters that keep two writers of the same file apart


def write_text(path: Path, text: str) -> Path:
    """
    Write a file such that a reader sees the old content or the new, never a part.

    Parameters
    ----------
    path
        The file to write; it is replaced if it exists. Its folder must exist.
    text
        The whole content, written as UTF-8 with the line ends as they are.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OSError
        If it cannot be written. What was there before is then untouched.
    """
    return write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file as `write_text` does, from bytes."""
    _write(path.parent, {path.name: content})
    return path


def write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    """
    Write several files, all of them or none, each such that a reader sees the old content or the new, never a part.

    A file that has its content already is not touched.

    Parameters
    ----------
    folder
        Where the files are; it must exist.
    texts
        The whole content of each file, by its name, written as UTF-8 with the line ends as they are.

    Raises
    ------
    OSError
        If one of them cannot be written. What was there before is then untouched.
    """
    _write(folder, {name: text.encode() for name, text in texts.items()})


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let others that write to this folder wait meanwhile, if they ask; on a file system without locks nobody waits."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(folder: Path, contents: Mapping[str, bytes]) -> None:
    changed = {folder / name: content for name, content in contents.items() if not _holds(folder / name, content)}
    for path in changed:
        if path.is_dir():
            raise _error_about(path, errno.EISDIR)
    written: dict[Path, str] = {}
    try:
        for path, content in changed.items():
            written[path] = _write_beside(path, content)
        _replace(written)
    finally:
        _forget(written.values())
    _forget_unfinished({folder / name for name in contents})


def _replace(written: Mapping[Path, str]) -> None:
    """Put a file in the place of each path, or, if one of them cannot be, leave all as they were."""
    # One alone cannot be half of the whole.
    before = {path: _second_name(path) if len(written) > 1 and path.exists() else None for path in written}
    replaced = []
    try:
        for path, temporary in written.items():
            os.replace(temporary, path)
            replaced.append(path)
    except BaseException:
        for path in replaced:
            with suppress(OSError):
                if (old := before[path]) is None:
                    os.unlink(path)
                else:
                    os.replace(old, path)
        raise
    finally:
        _forget(filter(None, before.values()))


def _second_name(path: Path) -> str:
    """Give a file another name as well, under which it stays when it is replaced."""
    name = str(path.parent / f"{_beginning(path)}{os.urandom(4).hex()}{UNFINISHED}")
    try:
        os.link(path, name)
    except OSError:  # not every file system has links
        return _write_beside(path, path.read_bytes())
    return name


def _forget(names: Iterable[str]) -> None:
    for name in names:
        with suppress(OSError):
            os.unlink(name)


def _forget_unfinished(paths: Collection[Path]) -> None:
    """Remove what a writer of these files left behind that was killed."""
    beginnings = {_beginning(path) for path in paths}
    for folder in {path.parent for path in paths}:
        for unfinished in folder.glob(f".*{UNFINISHED}"):
            if unfinished.name[: -RANDOM - len(UNFINISHED)] in beginnings:
                with suppress(OSError):
                    if time.time() - unfinished.stat().st_mtime > UNFINISHED_SECONDS:
                        unfinished.unlink()


def _beginning(path: Path) -> str:
    """Return how the name of a file begins that is to take the place of another one."""
    # With a dot and no .py at the end, so the DAG processor never takes it for a DAG; names end at 255 characters.
    return f".{path.name[:200]}."


def _error_about(path: Path, number: int | None) -> OSError:
    return OSError(number, os.strerror(number or 0), str(path))


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def _write_beside(path: Path, content: bytes) -> str:
    """Write a file under another name in the same folder, and return that."""
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=_beginning(path), suffix=UNFINISHED)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, READABLE & ~_umask())
    except BaseException as error:
        _forget(filter(None, [temporary]))
        if isinstance(error, OSError):
            # The other name would only puzzle people.
            raise _error_about(path, error.errno) from error
        raise
    return temporary


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current
