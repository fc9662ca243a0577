"""Releases in a folder that serves as a package index: this library's wheel, and small packages made by tests."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import dkist_processing_core

REPOSITORY = Path(__file__).parents[2]
VERSION = dkist_processing_core.__version__


def run_uv(*arguments: str | Path) -> None:
    """Run uv, which the tests' environment has, and show what it says if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "uv", *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


def build_wheel(project: Path, folder: Path) -> None:
    """Build the wheel of a project into a folder."""
    run_uv("build", "--wheel", "--quiet", "--out-dir", folder, project)


def write_package(
    folder: Path, files: dict[str, str], *, name: str, version: str = "1.0", package: str | None = None
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
    """
    package = package or name.replace("-", "_")
    project = folder / name
    for path, text in {"__init__.py": "", **files}.items():
        file = project / "src" / package / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
    for each in (project / "src" / package).rglob("*"):
        if each.is_dir() and not (each / "__init__.py").exists():
            (each / "__init__.py").write_text("")
    (project / "pyproject.toml").write_text(
        textwrap.dedent(
            f"""\
            [build-system]
            requires = ["hatchling"]
            build-backend = "hatchling.build"
            [project]
            name = "{name}"
            version = "{version}"
            dependencies = ["dkist-processing-core>={VERSION}"]
            [project.optional-dependencies]
            frozen = ["dkist-processing-core=={VERSION}"]
            [tool.hatch.build.targets.wheel]
            packages = ["src/{package}"]
            """
        )
    )
    return project


def with_links(folder: Path) -> dict[str, str]:
    """Return the settings by which uv and pip find the releases in a folder, besides the ones of this machine."""
    return {
        "UV_FIND_LINKS": str(folder),
        "PIP_FIND_LINKS": " ".join(filter(None, [os.environ.get("PIP_FIND_LINKS"), str(folder)])),
    }
