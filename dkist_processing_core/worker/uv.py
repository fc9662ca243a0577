"""
Where uv is.

Runs in: worker.
"""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = ["find_uv"]


def find_uv(variables: Mapping[str, str]) -> Path | None:
    """Return the program uv: on PATH, or beside the Python that runs this, to which an extra brings it."""
    found = shutil.which("uv", path=variables.get("PATH")) or shutil.which("uv", path=Path(sys.executable).parent)
    return Path(found).absolute() if found else None
