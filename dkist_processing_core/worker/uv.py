"""
Find uv.

Runs in: worker.
"""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = ["NAMING_REFUSALS", "find_uv"]

# With any other strategy, uv reports that an index that refuses access (401, 403) lacks the release.
NAMING_REFUSALS = {"UV_INDEX_STRATEGY": "first-index"}


def find_uv(variables: Mapping[str, str]) -> Path | None:
    """Return the program uv: from PATH, or beside the running Python, where an extra installs it."""
    found = shutil.which("uv", path=variables.get("PATH")) or shutil.which("uv", path=Path(sys.executable).parent)
    return Path(found).absolute() if found else None
