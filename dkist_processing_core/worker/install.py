"""
Build an environment, with uv, or with venv and pip.

Runs in: worker.
"""

import shutil
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from dkist_processing_core.common.redaction import redactor, without_credentials
from dkist_processing_core.worker import log
from dkist_processing_core.worker.cache import write_marker
from dkist_processing_core.worker.errors import UNAVAILABLE, WorkerError
from dkist_processing_core.worker.interpreter import Interpreter
from dkist_processing_core.worker.request import Request

__all__ = ["Run", "build"]

CONSTRAINTS_FILE = ".constraints.txt"

Run = Callable[[list[object], Mapping[str, str], Path, Callable[[bytes], None]], int]


def build(path: Path, request: Request, interpreter: Interpreter, variables: Mapping[str, str], run: Run) -> None:
    """
    Build an environment; if that fails, nothing of it is left.

    ``variables`` are those of the installer. ``run`` runs a command with them, in a folder, with a function that takes
    each line of its output, and returns the exit status.
    """
    began = time.monotonic()
    log.info(f"building the environment {path} for {request.requirement} with {interpreter.path}")
    try:
        if path.exists():
            shutil.rmtree(path)
        _install(path, request, interpreter, variables, run)
        write_marker(path, _description(path, request, interpreter, variables))
    except BaseException as error:
        shutil.rmtree(path, ignore_errors=True)
        if isinstance(error, OSError):
            raise WorkerError(
                UNAVAILABLE, f"the environment {path} cannot be written: {error}. Check the disk."
            ) from error
        raise
    log.info(f"environment built in {time.monotonic() - began:.0f} s")


def _install(path: Path, request: Request, interpreter: Interpreter, variables: Mapping[str, str], run: Run) -> None:
    python = path / "bin" / "python"
    what = [request.requirement]
    if request.dev_project:
        what = ["--editable", f"{request.dev_project}[{','.join(request.extras)}]"]
    # uv is on PATH, or beside the Python that runs this, whose extra "airflow" brings it.
    if found := shutil.which("uv", path=variables.get("PATH")) or shutil.which("uv", path=Path(sys.executable).parent):
        program = Path(found).absolute()
        new = [program, "venv", "--quiet", "--no-project", "--no-config", "--python", interpreter.path, path]
        install = [program, "pip", "install", "--no-progress", "--python", python, *what]
    else:
        log.info("there is no uv on PATH; python -m venv and pip do the work, more slowly")
        new = [interpreter.path, "-I", "-m", "venv", path]
        options = ["--no-input", "--no-compile", "--disable-pip-version-check"]
        install = [python, "-P", "-m", "pip", "install", *options, *what]

    def succeed(command: list[object], folder: Path, **changes: str) -> None:
        if run(command, {**variables, **changes}, folder, partial(_show, redactor(variables))):
            raise WorkerError(
                UNAVAILABLE,
                f"the environment for {request.requirement} could not be built; the installer's messages are above. "
                "Check that this release is on the package index that this worker uses, that the index can be "
                "reached, and that there is room on the disk.",
            )

    succeed(new, path.parent)
    # The installer works in this folder. An empty uv.toml keeps uv from looking for one in the folders above.
    (path / "uv.toml").touch()
    constraints = {}
    if request.constraints:
        (path / CONSTRAINTS_FILE).write_text(f"{request.constraints}\n", encoding="utf-8")
        # These come on top of those of the worker. The settings are lists that are split at spaces, so the file is
        # named as it is seen from the working folder.
        names = ("UV_CONSTRAINT", "PIP_CONSTRAINT")
        constraints = {name: f"{variables.get(name, '')} {CONSTRAINTS_FILE}".strip() for name in names}
    succeed(install, path, **constraints)
    succeed([python, "-I", Path(__file__).with_name("verify.py")], path)


def _description(
    path: Path, request: Request, interpreter: Interpreter, variables: Mapping[str, str]
) -> dict[str, object]:
    """Return what the marker says."""
    packages = path.glob("lib/python*/site-packages/*.dist-info")
    return {
        "requirement": request.requirement,
        "python": interpreter.identity,
        "index": without_credentials(variables.get("UV_DEFAULT_INDEX") or variables.get("UV_INDEX_URL") or ""),
        "built": datetime.now(UTC).isoformat(timespec="seconds"),
        "distributions": sorted(each.name.removesuffix(".dist-info") for each in packages),
    }


def _show(redact: Callable[[str], str], line: bytes) -> None:
    log.output(redact(line.decode(errors="replace")).encode())
