"""
Find uv.

Runs in: worker.
"""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = ["NAMING_REFUSALS", "find_uv"]

# With any other strategy, uv takes an index that refuses access (401, 403) for one that lacks the release, and says so.
NAMING_REFUSALS = {"UV_INDEX_STRATEGY": "first-index"}


def find_uv(variables: Mapping[str, str]) -> Path | None:
    """Return the program uv: on PATH, or beside the Python that runs this, to which an extra brings it."""
    found = shutil.which("uv", path=variables.get("PATH")) or shutil.which("uv", path=Path(sys.executable).parent)
    return Path(found).absolute() if found else None
