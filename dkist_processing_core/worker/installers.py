"""
The commands of uv, and of venv and pip, that build an environment.

Runs in: worker.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dkist_processing_core.worker.interpreter import Interpreter
from dkist_processing_core.worker.pip_settings import for_pip, for_uv
from dkist_processing_core.worker.request import EnvironmentRequest

__all__ = ["LOCK_FILE", "Installer", "pip_installer", "uv_installer"]

# In the environment until it is built. The environment itself gets no pip, since no release requires it.
FOLDER_OF_PIP = ".pip"
REPORTS = "report-*.json"
LOCK_FILE = ".lock.txt"  # in the environment, which is the working folder of the installer
# An installation with these options fails unless all requirements of the release and its extras are installed.
CHECK = ("--no-index", "--dry-run")


class Installer(NamedTuple):
    """
    An installer: the commands that create an environment, install into it, check it, and print the version.

    ``variables`` are the variables that are passed to it, and ``ignored`` the settings of pip that are not. ``seed`` is
    the folder that contains the installer itself and its reports, and is removed at the end.
    """

    name: str
    make: list[list[object]]
    install: list[list[object]]
    check: list[object]
    print_version: list[object]
    variables: Mapping[str, str]
    ignored: list[str]
    seed: Path | None = None

    def reports(self) -> list[dict[str, Any]]:
        """Return pip's report on each installed distribution; empty for uv, which has no reports."""
        files = sorted(self.seed.glob(REPORTS)) if self.seed else []
        return [each for file in files for each in json.loads(file.read_text(encoding="utf-8"))["install"]]


def uv_installer(
    program: Path, path: Path, request: EnvironmentRequest, interpreter: Interpreter, variables: Mapping[str, str]
) -> Installer:
    """Return the commands of uv for an environment in a folder."""
    options, ignored = for_uv(variables, decided={"no-deps"} if request.is_locked else ())
    new = ["venv", "--quiet", "--allow-existing", "--no-project", "--no-config", "--python", interpreter.path, path]
    # A release that was rebuilt has the same name in uv's cache.
    options += ["--refresh-package", request.name]
    target = ["--python", path / "bin" / "python"]
    return Installer(
        name="uv",
        make=[[program, *new]],
        install=[
            *([program, "pip", "install", "--no-progress", *target, *options, *each] for each in _what(request)),
        ],
        check=[program, "pip", "install", "--no-progress", *target, "--no-config", *CHECK, _name(request)],
        print_version=[program, "--version"],
        variables=variables,
        ignored=ignored,
    )


def pip_installer(
    path: Path, request: EnvironmentRequest, interpreter: Interpreter, variables: Mapping[str, str]
) -> Installer:
    """Return the commands of venv and pip, which every Python has, for an environment in a folder."""
    variables, ignored = for_pip(variables)
    seed = path / FOLDER_OF_PIP
    venv = [interpreter.path, "-I", "-m", "venv"]
    options = ["--no-input", "--no-compile", "--disable-pip-version-check"]
    reports = [["--report", seed / REPORTS.replace("*", str(number))] for number in range(2)]
    pip = [seed / "bin" / "python", "-P", "-m", "pip", "--python", path / "bin" / "python"]

    return Installer(
        name="pip",
        make=[[*venv, "--without-pip", path], [*venv, seed]],
        install=[
            *([*pip, "install", *options, *to, *each] for to, each in zip(reports, _what(request), strict=False)),
        ],
        check=[*pip, "install", *options, *CHECK, _name(request)],
        print_version=[seed / "bin" / "python", "-P", "-m", "pip", "--version"],
        variables=variables,
        ignored=ignored,
        seed=seed,
    )


def _name(request: EnvironmentRequest) -> str:
    return f"{request.name}[{','.join(request.extras)}]"


def _what(request: EnvironmentRequest) -> list[list[object]]:
    """Return the arguments of each installation. With a lock, the release is separate, since it may not be locked."""
    release: list[object] = [request.requirement]
    if request.dev_project:
        release = ["--editable", f"{request.dev_project}[{','.join(request.extras)}]"]
    if request.is_locked:
        locked: list[object] = ["--no-deps", "--require-hashes", "--requirement", LOCK_FILE]
        return [*([locked] if request.locked else []), ["--no-deps", *release]]
    return [release]
