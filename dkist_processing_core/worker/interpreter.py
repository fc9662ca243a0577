"""
The Python that environments are built with.

Runs in: worker; and as a program, by its path, in the interpreter that ``DKIST_PYTHON`` names.
"""

import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES

__all__ = ["Interpreter", "find_interpreter", "identity"]


class Interpreter:
    """
    A Python.

    Parameters
    ----------
    path
        Where it is.
    prefix
        Folder of its installation or virtual environment.
    identity
        What makes an environment built with it differ from one that is built with another one.
    """

    def __init__(self, path: str, prefix: str, identity: list[str]) -> None:
        self.path = path
        self.prefix = prefix
        self.identity = identity


def identity() -> list[str]:
    """Return what identifies the Python that runs this: its file, version, ABI and platform."""
    base = os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
    return [base, sys.version, EXTENSION_SUFFIXES[0], f"{sys.platform}-{os.uname().machine}"]


def find_interpreter(configured: str, search_path: str | None) -> Interpreter:
    """
    Return the Python that environments are built with.

    Parameters
    ----------
    configured
        Its name or path (``DKIST_PYTHON``); empty for the one that runs this program.
    search_path
        Folders to look for it, as in ``PATH``.

    Raises
    ------
    WorkerError
        If there is no such Python, or it cannot be started.
    """
    if not configured:
        return Interpreter(sys.executable, sys.prefix, identity())

    import json
    import shutil
    import subprocess

    from dkist_processing_core.worker.errors import MISCONFIGURED, WorkerError

    remedy = "Set DKIST_PYTHON to a Python, or leave it unset to use Airflow's own."
    path = shutil.which(configured, path=search_path)
    if path is None:
        raise WorkerError(
            MISCONFIGURED, f"DKIST_PYTHON is {configured!r}; no such program on PATH={search_path}. {remedy}"
        )
    path = os.path.abspath(path)  # noqa: PTH100 - a link to a Python may be a virtual environment
    try:
        done = subprocess.run([path, "-I", __file__], capture_output=True, check=True, timeout=60)  # noqa: S603
        prefix, *found = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise WorkerError(MISCONFIGURED, f"DKIST_PYTHON is {path}, which cannot be used: {error}. {remedy}") from error
    return Interpreter(path, prefix, found)


if __name__ == "__main__":
    import json

    sys.stdout.write(json.dumps([sys.prefix, *identity()]))
