"""
The Python of task environments.

Runs in: worker; and as a program, by its path, in the interpreter that ``DKIST_PYTHON`` names.
"""

import json
import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from typing import NamedTuple

__all__ = ["Interpreter", "find_interpreter"]

SECONDS = 60
FIND = ("python", "find", "--system", "--no-project", "--no-config", "--no-python-downloads")


class Interpreter(NamedTuple):
    """A Python: its path, the folder of its installation, and its file, version, ABI and platform."""

    path: str
    prefix: str
    identity: list[str]

    @property
    def version(self) -> str:
        """Version of the Python, such as ``3.12.1``."""
        return self.identity[1].split()[0].rstrip("+")

    @classmethod
    def own(cls) -> "Interpreter":
        """Return the running Python."""
        base = os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
        identity = [base, sys.version, EXTENSION_SUFFIXES[0], f"{sys.platform}-{os.uname().machine}"]
        return cls(sys.executable, sys.prefix, identity)


def find_interpreter(configured: str, search_path: str | None, requires: str = "") -> Interpreter:
    """
    Return the Python for task environments.

    Parameters
    ----------
    configured
        ``DKIST_PYTHON``, a name or a path. The default is the running Python.
    search_path
        The ``PATH`` in which programs are searched.
    requires
        The version specifier (:pep:`440`) that it must match. If it does not, uv searches for one that does.

    Raises
    ------
    WorkerError
        If there is no such Python.
    """
    found = _configured(configured, search_path) if configured else Interpreter.own()
    return _matching(found, requires, search_path) if requires else found


def _configured(configured: str, search_path: str | None) -> Interpreter:
    import shutil
    import subprocess

    from dkist_processing_core.worker.errors import MISCONFIGURED, WorkerError

    path = shutil.which(configured, path=search_path)
    try:
        if path is None:
            raise FileNotFoundError(f"no such program on PATH={search_path}")
        return _interpreter(path)
    except (OSError, subprocess.SubprocessError, TypeError, ValueError) as error:
        raise WorkerError(
            MISCONFIGURED,
            f"DKIST_PYTHON is {configured!r}, which cannot be used: {error}. "
            "Set it to a Python, or leave it unset to use the one that runs Airflow.",
        ) from error


def _matching(found: Interpreter, requires: str, search_path: str | None) -> Interpreter:
    """Return the given Python if it matches a version specifier, or another one on this machine that does."""
    import subprocess

    from dkist_processing_core.worker.errors import MISCONFIGURED, WorkerError
    from dkist_processing_core.worker.uv import find_uv

    try:
        from packaging.specifiers import InvalidSpecifier, SpecifierSet
    except ImportError as error:  # the worker program itself needs only the standard library
        raise WorkerError(
            MISCONFIGURED,
            f"the workflow requires Python {requires}, but the distribution packaging, which interprets that, is not "
            f"installed in {sys.executable}. Install this library there with its dependencies.",
        ) from error
    version = found.version
    try:
        if SpecifierSet(requires).contains(version, prereleases=True):
            return found
        path = search_path or os.defpath
        if not (uv := find_uv({"PATH": path})):
            raise FileNotFoundError("uv, which could find another one, is not on PATH")
        asked = subprocess.run(  # noqa: S603 - no shell
            [uv, *FIND, requires],
            env={**os.environ, "PATH": path},
            capture_output=True,
            check=True,
            text=True,
            timeout=SECONDS,
        )
        other = _interpreter(asked.stdout.strip())
        if not SpecifierSet(requires).contains(other.version, prereleases=True):  # uv reads "==3.12" as "==3.12.*"
            raise FileNotFoundError(f"uv found {other.path}, which is {other.version}")
        return other
    except (InvalidSpecifier, OSError, subprocess.SubprocessError, TypeError, ValueError) as error:
        what = getattr(error, "stderr", "") or error
        raise WorkerError(
            MISCONFIGURED,
            f"the workflow requires Python {requires}, but {found.path} is {version}: {' '.join(str(what).split())}. "
            "Install such a Python where uv finds it, or set DKIST_PYTHON to one.",
        ) from error


def _interpreter(path: str) -> Interpreter:
    import subprocess

    done = subprocess.run([path, "-I", __file__], capture_output=True, check=True, timeout=SECONDS)  # noqa: S603
    return Interpreter(*json.loads(done.stdout))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(Interpreter.own()))
