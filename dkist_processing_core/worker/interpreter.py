"""
The Python that environments are built with.

Runs in: worker; and as a program, by its path, in the interpreter that ``DKIST_PYTHON`` names.
"""

import json
import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from typing import NamedTuple

__all__ = ["Interpreter", "find_interpreter"]


class Interpreter(NamedTuple):
    """A Python: where it is, the folder of its installation, and its file, version, ABI and platform."""

    path: str
    prefix: str
    identity: list[str]

    @classmethod
    def own(cls) -> "Interpreter":
        """Return the Python that runs this."""
        base = os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
        identity = [base, sys.version, EXTENSION_SUFFIXES[0], f"{sys.platform}-{os.uname().machine}"]
        return cls(sys.executable, sys.prefix, identity)


def find_interpreter(configured: str, search_path: str | None) -> Interpreter:
    """Return the Python that is configured (``DKIST_PYTHON``) by its name or path, else the one that runs this."""
    if not configured:
        return Interpreter.own()

    import shutil
    import subprocess

    from dkist_processing_core.worker.errors import MISCONFIGURED, WorkerError

    path = shutil.which(configured, path=search_path)
    try:
        if path is None:
            raise FileNotFoundError(f"no such program on PATH={search_path}")
        done = subprocess.run([path, "-I", __file__], capture_output=True, check=True, timeout=60)  # noqa: S603
        return Interpreter(*json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, TypeError, ValueError) as error:
        raise WorkerError(
            MISCONFIGURED,
            f"DKIST_PYTHON is {configured!r}, which cannot be used: {error}. "
            "Set it to a Python, or leave it unset to use the one that runs Airflow.",
        ) from error


if __name__ == "__main__":
    sys.stdout.write(json.dumps(Interpreter.own()))
