"""
Exported files that people change: how to tell whether somebody has.

Runs in: author and CI. A notebook is filled in and run where it lies, and a Dockerfile is a thing that people write
themselves. So each carries a digest of its own text, its seal, and a new export takes the place of no other file.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from dkist_processing_core import atomic
from dkist_processing_core.exceptions import ChangedFileError

__all__ = ["SEAL", "is_untouched", "sealed", "write"]

SEAL = "sha256:" + "0" * 64
ANY_SEAL = re.compile(r"sha256:[0-9a-f]{64}")


def sealed(text: str) -> str:
    """
    Return a text with its digest in the place of the last `SEAL` in it.

    Parameters
    ----------
    text
        The text; what stands in it before the last `SEAL` may look like one.
    """
    before, _, after = text.rpartition(SEAL)
    return f"{before}sha256:{hashlib.sha256(text.encode()).hexdigest()}{after}"


def is_untouched(text: str) -> bool:
    """Tell whether a text is exactly what `sealed` has returned once."""
    seals = list(ANY_SEAL.finditer(text))
    if not seals:
        return False
    return sealed(text[: seals[-1].start()] + SEAL + text[seals[-1].end() :]) == text


def write(folder: Path, texts: Mapping[str, str], *, is_overwriting: bool = False) -> None:
    """
    Write sealed files, all of them or none, and replace only what nobody has changed.

    Parameters
    ----------
    folder
        Where to write to.
    texts
        The whole content of each file, by its path relative to the folder. Folders are made where there are none.
    is_overwriting
        Whether a file may be replaced whatever is in it.

    Raises
    ------
    ChangedFileError
        If a file is there that was changed since it was exported, or was never exported. Nothing is written then.
    OSError
        If a file cannot be written. What was there before is then untouched.
    """
    if not is_overwriting:
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
    return there != text and not is_untouched(there)
