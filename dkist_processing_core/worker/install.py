"""
Build an environment, with uv, or with venv and pip.

Runs in: worker.
"""

import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from dkist_processing_core.common.redaction import redactor, without_credentials
from dkist_processing_core.worker import log
from dkist_processing_core.worker.cache import (
    delete,
    describe_os_error,
    is_ours,
    mark_as_ours,
    replaceable_in,
    write_marker,
)
from dkist_processing_core.worker.causes import cause
from dkist_processing_core.worker.errors import MISCONFIGURED, UNAVAILABLE, InstallerError, WorkerError
from dkist_processing_core.worker.installer_folders import installer_folders
from dkist_processing_core.worker.interpreter import Interpreter
from dkist_processing_core.worker.pip_settings import for_pip, for_uv
from dkist_processing_core.worker.request import Request

__all__ = ["Run", "build", "find_uv"]

CONSTRAINTS_FILE = ".constraints.txt"
OUTPUT_LINES = 200

Run = Callable[[list[object], Mapping[str, str], Path, Callable[[bytes], None]], int]


def build(path: Path, request: Request, interpreter: Interpreter, variables: Mapping[str, str], run: Run) -> None:
    """
    Build an environment; if that fails, nothing of it is left.

    ``variables`` are those of the installer. ``run`` runs a command with them, in a folder, with a function that takes
    each line of its output, and returns the exit status.
    """
    began = time.monotonic()
    if os.statvfs(path.parent).f_flag & os.ST_NOEXEC:
        raise WorkerError(
            MISCONFIGURED,
            f"the environment cache {path.parent} is on a file system that is mounted noexec, from which no extension "
            "module can be loaded. Mount it without noexec, or set DKIST_ENVIRONMENT_CACHE to another folder.",
        )
    if parent := replaceable_in(path.parent):
        # No error: it is so in many containers and allocations, in which there are no others.
        log.warning(
            f"{parent} is a folder in which other users could replace the environment cache {path.parent}. If there "
            "are any, correct its owner, or its mode with chmod go-w or chmod +t."
        )
    log.info(f"building the environment {path} for {request.requirement} with {interpreter.path}")
    if os.path.lexists(path) and not is_ours(path) and not _is_empty_folder(path):
        raise WorkerError(
            MISCONFIGURED,
            f"{path} is in the way of an environment and was not made by this program, which therefore leaves it as it "
            "is. Remove it, or move it elsewhere.",
        )
    # What decides what a task runs must not become writable for others.
    umask = os.umask(0o077)
    os.umask(umask | 0o022)
    try:
        if is_ours(path):
            delete(path)
        path.mkdir(exist_ok=True)
        mark_as_ours(path)  # before anything else is in it
        _install(path, request, interpreter, variables, run)
        write_marker(path, _description(path, request, interpreter, variables))
    except BaseException as error:
        shutil.rmtree(path, ignore_errors=True)
        if isinstance(error, OSError):
            raise WorkerError(
                UNAVAILABLE, f"the environment {path} cannot be written: {describe_os_error(error, path.parent)}"
            ) from error
        raise
    finally:
        os.umask(umask)
    log.info(f"environment built in {time.monotonic() - began:.0f} s")


def find_uv(variables: Mapping[str, str]) -> Path | None:
    """Return the program uv: on PATH, or beside the Python that runs this, to which an extra brings it."""
    found = shutil.which("uv", path=variables.get("PATH")) or shutil.which("uv", path=Path(sys.executable).parent)
    return Path(found).absolute() if found else None


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def _install(path: Path, request: Request, interpreter: Interpreter, variables: Mapping[str, str], run: Run) -> None:
    python = path / "bin" / "python"
    what = [request.requirement]
    if request.dev_project:
        what = ["--editable", f"{request.dev_project}[{','.join(request.extras)}]"]
    if program := find_uv(variables):
        options, ignored = for_uv(variables)
        new = [
            program,
            "venv",
            "--quiet",
            "--allow-existing",
            "--no-project",
            "--no-config",
            "--python",
            interpreter.path,
            path,
        ]
        # A release that was built again has the name that the cache of uv knows.
        options += ["--refresh-package", request.name]
        install = [program, "pip", "install", "--no-progress", "--python", python, *options, *what]
    else:
        log.info("there is no uv on PATH; python -m venv and pip do the work, more slowly")
        variables, ignored = for_pip(variables)
        new = [interpreter.path, "-I", "-m", "venv", path]
        options = ["--no-input", "--no-compile", "--disable-pip-version-check"]
        install = [python, "-P", "-m", "pip", "install", *options, *what]
    variables = installer_folders(variables, path.parent)
    if ignored:
        log.info(f"settings of pip that {'uv' if program else 'pip'} is not given: {', '.join(ignored)}")

    redact = redactor(variables)

    def succeed(command: list[object], folder: Path, problem: str = "could not be built", **changes: str) -> None:
        output: deque[str] = deque(maxlen=OUTPUT_LINES)
        try:
            status = run(command, {**variables, **changes}, folder, partial(_show, output, redact))
        except OSError as error:
            raise WorkerError(
                UNAVAILABLE, f"{command[0]}, which builds environments, cannot be started: {error.strerror}."
            ) from error
        if status:
            why = cause(status, output)
            raise InstallerError(
                f"the environment for {request.requirement} {problem}; the installer's messages are above. {why.text}",
                may_be_its_cache=why.may_be_its_cache,
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
    succeed([python, "-I", Path(__file__).with_name("verify.py")], path, "was built, but cannot be used")


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


def _show(output: deque[str], redact: Callable[[str], str], line: bytes) -> None:
    text = redact(line.decode(errors="replace"))
    output.append(text.strip())
    log.output(text.encode())
