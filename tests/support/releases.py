"""Releases in a folder that serves as a package index: this library's wheel, and small packages made by tests."""

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import dkist_processing_core
from support.command_line import run_command
from support.sources import write_sources

REPOSITORY = Path(__file__).parents[2]
VERSION = dkist_processing_core.__version__
UV_SECONDS = 900
# Exports the workflows of a package, named by its first argument, into a folder, named by its second one.
EXPORT = """
import sys
from importlib import import_module
from dkist_processing_core.build_utils import export_dags
export_dags(import_module(sys.argv[1]), sys.argv[2])
"""
# Exports them as one file.
EXPORT_ONE_FILE = EXPORT.replace("export_dags", "export_one_file")


def run_uv(*arguments: object, text: str = "", **environment: str) -> str:
    """Run uv, which the tests' environment has, and return its output; the error shows it if it fails."""
    command = [sys.executable, "-m", "uv", *arguments]
    return run_command(*command, text=text, seconds=UV_SECONDS, **environment).check().stdout


def new_environment(folder: Path, *requirements: object, python: object = sys.executable, **environment: str) -> Path:
    """Make a virtual environment with some requirements, and return its Python."""
    run_uv("venv", "--quiet", "--no-project", "--python", python, folder)
    run_uv("pip", "install", "--quiet", "--python", folder / "bin/python", *requirements, **environment)
    return folder / "bin" / "python"


def build_wheel(project: Path, folder: Path) -> None:
    """Build the wheel of a project into a folder."""
    run_uv("build", "--wheel", "--quiet", "--out-dir", folder, project)


def make_index(folder: Path, core_wheel: Path, *projects: Path) -> Path:
    """Fill a folder with the wheels of this library and of some projects, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for wheel in core_wheel.glob("*.whl"):
        shutil.copy(wheel, folder)
    for project in projects:
        build_wheel(project, folder)
    return folder


def write_package(
    folder: Path,
    files: dict[str, str],
    *,
    name: str,
    version: str = "1.0",
    package: str | None = None,
    frozen: Sequence[str] = (f"dkist-processing-core=={VERSION}",),
    backend: str = "hatchling.build",
) -> Path:
    """
    Write the sources of a small instrument package.

    Parameters
    ----------
    folder
        Where to write; a folder of the package's name is made in it.
    files
        The text of each module, by its path inside of the package.
    name, version
        Of the distribution.
    package
        Name to import, if it is not the usual one.
    frozen
        The requirements of its extra of that name. The first one is this library, or the published one.
    backend
        What builds it.
    """
    package = package or name.replace("-", "_")
    project = folder / name
    modules = write_sources(project / "src", files, name=package)
    for each in modules.rglob("*/"):
        (each / "__init__.py").touch()
    (project / "pyproject.toml").write_text(
        textwrap.dedent(
            f"""\
            [build-system]
            requires = ["{backend.partition(".")[0]}"]
            build-backend = "{backend}"
            [project]
            name = "{name}"
            version = "{version}"
            dependencies = ["{frozen[0].replace("==", ">=")}"]
            [project.optional-dependencies]
            frozen = {json.dumps([*frozen])}
            [tool.hatch.build.targets.wheel]
            packages = ["src/{package}"]
            """
        )
    )
    return project


def export_workflows(
    package: str, folder: Path, *, sources: Path, python: object = sys.executable, program: str = EXPORT, **more: str
) -> list[Path]:
    """Let the library of some environment export the workflows of a package into a folder; return the files there."""
    folder.mkdir(parents=True, exist_ok=True)
    run_command(python, "-P", "-W", "ignore", "-c", program, package, folder, PYTHONPATH=sources, **more).check()
    return sorted(folder.glob("*.py"))


def with_links(folder: Path) -> dict[str, str]:
    """Return the settings by which uv and pip find the releases in a folder, besides the ones of this machine."""
    return {
        "UV_FIND_LINKS": str(folder),
        "PIP_FIND_LINKS": " ".join(filter(None, [os.environ.get("PIP_FIND_LINKS"), str(folder)])),
    }
