"""
Build an environment, with uv, or with venv and pip.

Runs in: worker.
"""

import os
import re
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from dkist_processing_core.common.environment import DESCRIPTION
from dkist_processing_core.common.redaction import redactor
from dkist_processing_core.worker import log
from dkist_processing_core.worker.cache import delete, is_ours, mark_as_ours
from dkist_processing_core.worker.causes import NOT_FOUND, Cause, cause
from dkist_processing_core.worker.description import Installation, address, write_description
from dkist_processing_core.worker.errors import (
    MISCONFIGURED,
    UNAVAILABLE,
    InstallerError,
    WorkerError,
    describe_os_error,
)
from dkist_processing_core.worker.installer_folders import installer_folders
from dkist_processing_core.worker.installers import LOCK_FILE, Installer, pip_installer, uv_installer
from dkist_processing_core.worker.interpreter import Interpreter
from dkist_processing_core.worker.marker import write_marker
from dkist_processing_core.worker.permissions import replaceable_in
from dkist_processing_core.worker.request import EnvironmentRequest
from dkist_processing_core.worker.uv import NAMING_REFUSALS, find_uv

__all__ = ["Run", "build"]

CONSTRAINTS_FILE = ".constraints.txt"
OUTPUT_LINES = 200
VERSION = re.compile(rb"^(?:uv|pip) (\S+)", re.MULTILINE)

Run = Callable[[list[object], Mapping[str, str], Path, Callable[[bytes], None]], int]


def build(
    path: Path, request: EnvironmentRequest, interpreter: Interpreter, variables: Mapping[str, str], run: Run
) -> str:
    """
    Build an environment and return its identity. If this fails, nothing is left behind.

    ``variables`` are those of the installer. ``run`` takes a command, variables, a folder, and a function for each line
    of output; it runs the command and returns the exit status.
    """
    began = time.monotonic()
    if os.statvfs(path.parent).f_flag & os.ST_NOEXEC:
        raise WorkerError(
            MISCONFIGURED,
            f"the environment cache {path.parent} is on a file system that is mounted noexec, from which no extension "
            "module can be loaded. Mount it without noexec, or set DKIST_ENVIRONMENT_CACHE to another folder.",
        )
    if parent := replaceable_in(path.parent):
        # Not an error, since this is so in many containers and allocations without other users.
        log.warning(
            f"{parent} is a folder in which other users could replace the environment cache {path.parent}. If there "
            "are any, correct its owner, or its mode with chmod go-w or chmod +t."
        )
    log.info(f"building the environment {path} for {request.requirement} with {interpreter.path}")
    if os.path.lexists(path) and not is_ours(path) and not _is_empty_folder(path):
        raise WorkerError(
            MISCONFIGURED,
            f"{path}, where the environment would be built, was not created by this program, so it is not replaced. "
            "Remove it, or move it elsewhere.",
        )
    # The code that tasks run must not become writable for other users.
    umask = os.umask(0o077)
    os.umask(umask | 0o022)
    try:
        if is_ours(path):
            delete(path)
        path.mkdir(exist_ok=True)
        mark_as_ours(path)  # before anything else is in it
        installation = _install(path, request, interpreter, variables, run)
        identity = write_description(path, request, variables, installation)
        write_marker(path, _marker(path, request, interpreter, variables))
    except BaseException as error:
        shutil.rmtree(path, ignore_errors=True)
        if isinstance(error, OSError):
            raise WorkerError(
                UNAVAILABLE, f"the environment {path} cannot be written: {describe_os_error(error, path.parent)}"
            ) from error
        raise
    finally:
        os.umask(umask)
    log.info(f"environment built in {time.monotonic() - began:.0f} s, identity {identity}")
    return identity


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def _install(
    path: Path, request: EnvironmentRequest, interpreter: Interpreter, variables: Mapping[str, str], run: Run
) -> Installation:
    began = time.monotonic()
    installer = _installer(path, request, interpreter, variables)
    variables = installer_folders(installer.variables, path.parent)
    if installer.ignored:
        log.info(f"settings of pip that are not passed to {installer.name}: {', '.join(installer.ignored)}")

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
            again, settings = [*command, "--dry-run"], {**variables, **changes, **NAMING_REFUSALS}
            ask = partial(run, again, settings, folder, partial(_show, output, redact))
            why = _cause(installer, status, output, ask)
            raise InstallerError(
                f"the environment for {request.requirement} {problem}. The log has the installer's output. {why.text}",
                may_be_its_cache=why.may_be_its_cache,
            )

    for command in installer.make:
        succeed(command, path.parent)
    # The installer runs in this folder. An empty uv.toml keeps uv from searching the parent folders for one.
    (path / "uv.toml").touch()
    constraints = _constraints(path, request, variables)
    for command in installer.install:
        succeed(command, path, **constraints)
    if request.is_locked:
        _check_lock(path, request, installer, variables, run)
    version = _version(path, installer, variables, run)
    reports = installer.reports()
    if installer.seed:
        shutil.rmtree(installer.seed)
    checkouts = [request.name] if request.dev_project else []
    for name, arguments in (("inventory.py", [DESCRIPTION, *checkouts]), ("verify.py", [])):
        checked = [path / "bin" / "python", "-I", Path(__file__).with_name(name), *arguments]
        succeed(checked, path, "was built, but cannot be used")
    return Installation(installer.name, version, began, reports)


def _installer(
    path: Path, request: EnvironmentRequest, interpreter: Interpreter, variables: Mapping[str, str]
) -> Installer:
    if program := find_uv(variables):
        return uv_installer(program, path, request, interpreter, variables)
    log.info("there is no uv on PATH; python -m venv and pip build environments, which takes longer")
    return pip_installer(path, request, interpreter, variables)


def _cause(installer: Installer, status: int, output: Iterable[str], ask_again: Callable[[], int]) -> Cause:
    why = cause(status, output)
    # uv also reports "not found" if an index refuses access.
    if installer.name == "uv" and why.text.startswith(NOT_FOUND):
        ask_again()
        why = cause(status, output)
    return why


def _version(path: Path, installer: Installer, variables: Mapping[str, str], run: Run) -> str:
    lines: list[bytes] = []
    run(installer.print_version, variables, path, lines.append)
    found = VERSION.search(b"".join(lines))
    return found[1].decode() if found else "unknown"


def _check_lock(
    path: Path, request: EnvironmentRequest, installer: Installer, variables: Mapping[str, str], run: Run
) -> None:
    """Raise an error if the lock does not satisfy the requirements of the release."""
    output: deque[str] = deque(maxlen=OUTPUT_LINES)
    names = ("UV_FIND_LINKS", "PIP_FIND_LINKS", "UV_CONSTRAINT", "PIP_CONSTRAINT", "PIP_NO_DEPS")
    nothing = dict.fromkeys(names, "")
    if run(installer.check, {**variables, **nothing}, path, partial(_show, output, redactor(variables))):
        raise WorkerError(
            UNAVAILABLE,
            f"the environment for {request.requirement} could not be built: the lock file of the workflow lacks a "
            f"requirement, or has another version of it. Lock the environment again. {installer.name} says: "
            f"{' '.join(filter(None, output))[-1000:]}",
        )


def _constraints(path: Path, request: EnvironmentRequest, variables: Mapping[str, str]) -> dict[str, str]:
    """Write the constraints or the lock of the workflow into the environment, and return the settings for them."""
    names = ("UV_CONSTRAINT", "PIP_CONSTRAINT")
    if request.is_locked:
        # The lock alone determines what is installed, and the installers refuse constraints without hashes in addition.
        (path / LOCK_FILE).write_text("".join(f"{each}\n" for each in request.locked), encoding="utf-8")
        return dict.fromkeys(names, "")
    if not request.constraints:
        return {}
    (path / CONSTRAINTS_FILE).write_text(f"{request.constraints}\n", encoding="utf-8")
    # These are added to those of the worker. The settings are lists separated by spaces, so the path of the file is
    # relative to the working folder.
    return {name: f"{variables.get(name, '')} {CONSTRAINTS_FILE}".strip() for name in names}


def _marker(
    path: Path, request: EnvironmentRequest, interpreter: Interpreter, variables: Mapping[str, str]
) -> dict[str, object]:
    """Return the content of the marker."""
    packages = path.glob("lib/python*/site-packages/*.dist-info")
    return {
        "requirement": request.requirement,
        "python": interpreter.identity,
        "index": address(variables.get("UV_DEFAULT_INDEX") or variables.get("UV_INDEX_URL") or ""),
        "built": datetime.now(UTC).isoformat(timespec="seconds"),
        "distributions": sorted(each.name.removesuffix(".dist-info") for each in packages),
    }


def _show(output: deque[str], redact: Callable[[str], str], line: bytes) -> None:
    text = redact(line.decode(errors="replace"))
    output.append(text.strip())
    log.output(text.encode())
