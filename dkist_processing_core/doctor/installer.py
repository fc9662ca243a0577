"""
Check what environments are built with: Python, uv and the package index.

Runs in: worker, CI, and the machine of the DAG processor for Python.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from dkist_processing_core._version import __version__
from dkist_processing_core.common.programs import run_program
from dkist_processing_core.common.redaction import redactor
from dkist_processing_core.doctor.machine import Machine, Place
from dkist_processing_core.doctor.report import CheckError, Finding
from dkist_processing_core.worker.causes import cause
from dkist_processing_core.worker.description import address
from dkist_processing_core.worker.errors import WorkerError
from dkist_processing_core.worker.pip_settings import for_pip, for_uv, installer_variables
from dkist_processing_core.worker.uv import NAMING_REFUSALS, find_uv

__all__ = ["INDEX_SECONDS", "check_index", "check_python", "check_uv"]

LIBRARY = "dkist-processing-core"
# The release that would be installed, as uv and pip print it.
OFFERED = re.compile(r"^(?:Would install )?dkist[-_]processing[-_]core(?:==|-)([0-9]\S*)", re.MULTILINE)
PROGRAM_SECONDS = 8.0
INDEX_SECONDS = 60.0
VENV_SECONDS = 40.0  # an idle machine creates a virtual environment with pip in 4 s; a busy one takes much longer
PIP_SECONDS = 15.0
TIMED_OUT = 124  # as of timeout(1)
ONE_TRY = {
    "UV_HTTP_RETRIES": "0",
    "UV_HTTP_TIMEOUT": "8",
    "PIP_RETRIES": "0",
    "PIP_TIMEOUT": "8",
    **NAMING_REFUSALS,
}
COMPILE = ("pip", "compile", "--quiet", "--no-deps", "--no-header", "--no-annotate", "--no-progress")
DRY_RUN = ("install", "--dry-run", "--no-deps", "--ignore-installed", "--no-input", "--disable-pip-version-check")


def check_python(machine: Machine) -> Finding:
    """Check this Python, which also runs Airflow and the worker program, and the Python of environments."""
    from packaging.specifiers import SpecifierSet

    try:
        supported = metadata(LIBRARY)["Requires-Python"]
    except PackageNotFoundError:
        raise CheckError(
            f"{LIBRARY} is not installed in {sys.executable}", f"{sys.executable} -m pip install {LIBRARY}"
        ) from None
    own = f"{sys.executable} is Python {sys.version.split()[0]}"
    if machine.place is Place.DAG_PROCESSOR:
        return Finding.ok(own)
    try:
        interpreter = machine.interpreter
    except WorkerError as error:
        raise CheckError(str(error), "unset DKIST_PYTHON, or set it to a Python") from error
    found = own if interpreter.path == sys.executable else f"{own}, and {interpreter.path} is {interpreter.version}"
    if not SpecifierSet(supported).contains(interpreter.version, prereleases=True):
        remedy = f"unset DKIST_PYTHON, or set it to a Python {supported}"
        raise CheckError(f"{found}, but environments need Python {supported}", remedy)
    return Finding.ok(found)


def check_uv(machine: Machine) -> Finding:
    """Check that there is an installer: uv, or venv and pip."""
    remedy = f"{sys.executable} -m pip install uv"
    if uv := find_uv(machine.variables):
        status, output = _run([uv, "--version"], machine.variables)
        if status:
            raise CheckError(f"{uv} cannot be run: {output.strip()}", remedy)
        return Finding.ok(f"{output.strip()}, {uv}")
    python = machine.interpreter.path
    status, _ = _run([python, "-I", "-c", "import ensurepip, venv"], machine.variables)
    if status:
        raise CheckError(f"uv is not installed, and {python} has no venv with pip, so nothing can be built", remedy)
    return Finding.warning(f"uv is not installed; {python} -m venv and pip build environments, but slower", remedy)


def check_index(machine: Machine) -> Finding:
    """Request the metadata of this library from the package index, with the settings of the worker."""
    variables = installer_variables(machine.variables, machine.interpreter.prefix)
    names = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_FIND_LINKS")
    index = address(next(filter(None, map(variables.get, names)), "the default index"))
    with tempfile.TemporaryDirectory(prefix="dkist-doctor-") as name:
        folder = Path(name)
        own = {"UV_CACHE_DIR": str(folder / "uv"), "PIP_CACHE_DIR": str(folder / "pip"), **ONE_TRY}
        if uv := find_uv(variables):
            status, output = _ask_by_uv(uv, machine, {**variables, **own}, folder)
        else:
            status, output = _ask_by_pip(machine, {**variables, **own}, folder)
    if status:
        remedy, _, said = cause(status, redactor(variables)(output).splitlines()).text.partition(" It says: ")
        if not said:
            remedy, said = "Read that message, and check which server answers at the address of the index.", remedy
        raise CheckError(f"{index}: {said}", f"{remedy} The settings are PIP_INDEX_URL and PIP_FIND_LINKS.")
    return _judged(index, output)


def _judged(index: str, output: str) -> Finding:
    """Judge the version that an installer would choose; a task that requires no other one gets it."""
    from packaging.version import Version

    if not (named := OFFERED.search(output)):
        return Finding.ok(f"{index} has {LIBRARY}")
    found = f"{index} has {LIBRARY} {named[1]}"
    if Version(named[1]).major < (major := Version(__version__).major):
        return Finding.warning(
            f"{found}, and this machine has {__version__}; a release that requires {LIBRARY}>={major} cannot be "
            "installed, and its tasks would end with exit status 69",
            f"Publish {LIBRARY} {major} on that index, or name an index that has it in PIP_INDEX_URL",
        )
    return Finding.ok(found)


def _ask_by_uv(uv: Path, machine: Machine, variables: Mapping[str, str], folder: Path) -> tuple[int, str]:
    options, _ = for_uv(variables, decided={"no-deps"})
    (folder / "uv.toml").touch()  # keeps uv from searching the parent folders for one
    (folder / "requirements.txt").write_text(LIBRARY, encoding="utf-8")
    command: list[str | Path] = [uv, *COMPILE, "--python", machine.interpreter.path, *options]
    command.append(folder / "requirements.txt")
    return _run(command, variables, folder)


def _ask_by_pip(machine: Machine, variables: Mapping[str, str], folder: Path) -> tuple[int, str]:
    python = machine.interpreter.path
    status, output = _run([python, "-I", "-m", "venv", folder / "venv"], variables, folder, seconds=VENV_SECONDS)
    if status == TIMED_OUT:
        raise CheckError(
            f"{python} -m venv took more than {VENV_SECONDS:g} s, so the index was not asked",
            f"{sys.executable} -m pip install uv, which is faster, or find out what slows this machine down",
        )
    if status:
        return status, output
    given, _ = for_pip(variables)
    pip = folder / "venv" / "bin" / "python", "-P", "-m", "pip"
    return _run([*pip, *DRY_RUN, LIBRARY], given, folder, seconds=PIP_SECONDS)


def _run(
    command: Sequence[str | Path],
    variables: Mapping[str, str],
    folder: Path | None = None,
    seconds: float = PROGRAM_SECONDS + 1,  # an installer gives up before
) -> tuple[int, str]:
    try:
        return run_program(command, environment=variables, seconds=seconds, folder=folder)
    except subprocess.TimeoutExpired:
        return TIMED_OUT, f"{Path(command[0]).name} timed out after {seconds:g} s"
    except OSError as error:
        return 1, f"{command[0]}: {error.strerror}"
