"""The archives of a release, installed as users do it: by pip or uv, with old or new dependencies, on any Python."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from support.command_line import run_command
from support.matrix.environments import TABLE, find_python
from support.releases import REPOSITORY, run_uv

SMOKE = Path(__file__).with_name("smoke.py")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
LOWEST, HIGHEST = "lowest-direct", "highest"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
OLDEST = PYTHONS[0]
# The extras that users install; the others are for work on this library.
EXTRAS = ("airflow", "build", "otel")
# uv is a program beside the others, and none of them depends on it.
NOT_DATED = "uv"
SECONDS = 900


@dataclass(frozen=True)
class Installation:
    """One row of the table: what is installed, how and where."""

    python: str
    installer: str
    resolution: str
    archive: str = "wheel"
    extra: str = ""

    def __str__(self) -> str:
        return "-".join([self.python, self.installer, self.resolution, self.archive, self.extra or "base"])


def rows() -> list[Installation]:
    """
    Return all rows: the base on each Python, the base from the sdist and each extra on the oldest one.

    Those that take longest are the first, so that the processes end at about the same time.
    """
    every_way = [(installer, resolution) for installer in ("pip", "uv") for resolution in (LOWEST, HIGHEST)]
    return [
        *(Installation(OLDEST, *way, extra=extra) for extra in EXTRAS for way in every_way),
        *(Installation(OLDEST, *way, archive="sdist") for way in every_way),
        *(Installation(python, *way) for python in PYTHONS for way in every_way),
    ]


def pins(row: Installation, python: Path, folder: Path) -> Path:
    """
    Write the version of each dependency that a row has, as uv resolves them.

    An Airflow with newer dependencies than those of its own time may install and not run, so an old one gets these.
    """
    file = folder / "pins.txt"
    command = ["pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python", python]
    command += ["--resolution", row.resolution, REPOSITORY / "pyproject.toml", "--output-file", file]
    command += ["--extra", row.extra] if row.extra else []
    run_uv(*command)
    dates = {entry["version"]: entry.get("before") for entry in TABLE["airflow"]}
    if row.resolution == LOWEST and (before := dates.get(pinned(file).get("apache-airflow", ""))):
        file.unlink()  # whose versions uv would prefer
        newest = TABLE["airflow"][-2]["before"]
        run_uv(*command, "--exclude-newer", before, "--exclude-newer-package", f"{NOT_DATED}={newest}")
    return file


def pinned(file: Path) -> dict[str, str]:
    """Return the version of each distribution in a file of pins."""
    lines = [line.partition(" ;")[0] for line in file.read_text().splitlines() if "==" in line]
    return dict(line.split("==") for line in lines)


def install(row: Installation, archives: Path, folder: Path) -> Path:
    """
    Install an archive into a new environment, and return its Python.

    Raises
    ------
    NoPythonError
        If the Python of the row is not installed.
    """
    found = find_python(row.python)
    folder.mkdir()
    file = pins(row, found, folder)
    python = folder / "venv" / "bin" / "python"
    seed = ["--seed"] if row.installer == "pip" else []
    run_uv("venv", "--quiet", "--no-project", *seed, "--python", found, folder / "venv")
    [archive] = archives.glob("*.whl" if row.archive == "wheel" else "*.tar.gz")
    requirement = f"{PROJECT['name']}{f'[{row.extra}]' if row.extra else ''} @ {archive.resolve().as_uri()}"
    if row.installer == "pip":
        run(python, "-m", "pip", "install", "--quiet", "--no-compile", "--constraint", file, requirement)
        run(python, "-m", "pip", "check")
    else:
        run_uv("pip", "install", "--quiet", "--python", python, "--constraint", file, requirement)
        run_uv("pip", "check", "--python", python)
    assert pinned(file).items() <= frozen(python).items()
    return python


def frozen(python: Path) -> dict[str, str]:
    """Return the version of each distribution in an environment."""
    lines = run_uv("pip", "list", "--quiet", "--format", "freeze", "--python", python).splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def lacking(row: Installation) -> str:
    """Return the modules that an environment may lack, as `smoke.py` takes them: those of the other extras."""
    has = {Requirement(each).name for each in PROJECT["optional-dependencies"].get(row.extra, [])}
    modules = {"click": "click", "rich": "rich", "tomlkit": "tomlkit", "nbformat": "nbformat", "nbconvert": "nbconvert"}
    modules |= {"apache-airflow": "airflow", "opentelemetry-sdk": "opentelemetry"}
    return ",".join(module for name, module in modules.items() if name not in has)


def run(*command: object, cwd: Path | None = None, status: int = 0, **environment: str) -> str:
    """Run a program, and return its output, which the error shows if it ends with another status."""
    settings = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment}
    return run_command(*command, cwd=cwd, merge=True, seconds=SECONDS, **settings).check(status=status).stdout
