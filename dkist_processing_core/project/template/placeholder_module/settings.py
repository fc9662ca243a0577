"""The settings, which are environment variables. They are read on use, never at import."""

import os
import tempfile
from pathlib import Path

__all__ = ["SCRATCH", "scratch_folder"]

SCRATCH = "placeholder_variable"


def scratch_folder(recipe_run_id: int) -> Path:
    """
    Return the folder in which the tasks of one recipe run exchange data.

    Parameters
    ----------
    recipe_run_id
        Id of the recipe run.
    """
    default = Path(tempfile.gettempdir()) / f"placeholder_name-{os.getuid()}"
    return Path(os.environ.get(SCRATCH) or default) / f"recipe_run_{recipe_run_id:06d}"
