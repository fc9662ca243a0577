"""Files that are written completely or not at all, so that a task can be retried at any time."""

import tempfile
from pathlib import Path

__all__ = ["write_text"]


def write_text(path: Path, text: str) -> None:
    """
    Write a file, or replace it.

    A reader sees the old content or the new one, never a part. A task that is killed while it writes leaves nothing
    that the next try would mistake for data.

    Parameters
    ----------
    path
        The file. Its folder is created if it does not exist.
    text
        The new content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        unfinished = Path(folder) / path.name
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
