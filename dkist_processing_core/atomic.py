"""
Files that are there whole or not at all.

Runs in: author and CI, worker.
"""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["write_text"]

READABLE = 0o644


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
    # The temporary name begins with a dot and does not end in .py, so the DAG processor never takes it for a DAG.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, READABLE & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    return path


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current
