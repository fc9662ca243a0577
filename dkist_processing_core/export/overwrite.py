"""
Write exported files that people change, and replace none that somebody has changed.

Runs in: author and CI.
"""

from collections.abc import Mapping
from pathlib import Path

from dkist_processing_core.common import atomic
from dkist_processing_core.exceptions import ChangedFileError
from dkist_processing_core.rendering.checksum import is_unchanged

__all__ = ["write"]


def write(folder: Path, texts: Mapping[str, str], *, overwrite: bool = False) -> None:
    """
    Write files with a checksum, all of them or none, and replace only what nobody has changed.

    Parameters
    ----------
    folder
        Where to write to.
    texts
        The whole content of each file, by its path relative to the folder. Folders are made where there are none.
    overwrite
        Whether a file may be replaced whatever is in it.

    Raises
    ------
    ChangedFileError
        If a file is there that was changed since it was exported, or was never exported. Nothing is written then.
    OSError
        If a file cannot be written. What was there before is then untouched.
    """
    if not overwrite:
        changed = [str(folder / name) for name, text in texts.items() if _would_be_lost(folder / name, text)]
        if changed:
            raise ChangedFileError(changed)
    for name in texts:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    atomic.write_texts(folder, texts)


def _would_be_lost(file: Path, text: str) -> bool:
    try:
        there = file.read_bytes().decode()
    except FileNotFoundError:
        return False
    except UnicodeDecodeError:
        return True
    return there != text and not is_unchanged(there)
