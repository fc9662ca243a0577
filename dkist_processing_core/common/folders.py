"""
Where this library keeps things between two tasks.

Runs in: worker and scheduler, with the standard library alone.
"""

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder(environment: Mapping[str, str] | None = None) -> Path:
    """
    Return the folder in which a worker keeps task environments (``DKIST_ENVIRONMENT_CACHE``).

    By default it is ``dkist-processing-core/environments`` in ``$XDG_CACHE_HOME`` or ``~/.cache``. What lies in it is
    ordered by the version of its layout.

    Parameters
    ----------
    environment
        The environment variables; those of this process by default.
    """
    variables = os.environ if environment is None else environment
    if configured := variables.get("DKIST_ENVIRONMENT_CACHE"):
        return Path(configured)
    return Path(variables.get("XDG_CACHE_HOME") or Path.home() / ".cache", "dkist-processing-core", "environments")
