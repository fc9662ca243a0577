"""
Files on the scratch disk, written such that a task can be retried at any time.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["replaced", "scratch_folder"]


def scratch_folder(recipe_run_id: int) -> Path:
    """
    Return the folder in which the tasks of one recipe run pass each other their data.

    It is in ``DKIST_EXAMPLE_SCRATCH``, which all workers must share. If this variable is not set, it is in the system's
    folder for temporary files.

    Parameters
    ----------
    recipe_run_id
        Id of the recipe run.
    """
    configured = os.environ.get("DKIST_EXAMPLE_SCRATCH")
    root = Path(configured) if configured else Path(tempfile.gettempdir()) / "dkist-processing-example"
    return root / f"recipe_run_{recipe_run_id:06d}"


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """
    Yield a path to write to. What was written there replaces ``path`` when the block ends without an error.

    Whoever reads ``path`` sees the old file or the new one, never a part, and a task that is killed while it writes
    leaves nothing behind that the next try would mistake for data.

    Parameters
    ----------
    path
        The file to create or to replace. Its folder is created if it does not exist.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        unfinished = Path(folder) / path.name
        yield unfinished
        unfinished.replace(path)
