"""The environments of the matrix, one for each version of Airflow and of the published library; kept between runs."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from support.releases import REPOSITORY, new_environment, run_uv

TABLE = tomllib.loads(Path(__file__).with_name("versions.toml").read_text())
KEPT = REPOSITORY / ".build" / "matrix"
# The environment that runs the tests has an Airflow as well, which saves building another one.
USES_THIS_ONE = os.environ.get("DKIST_MATRIX_USE_THIS_AIRFLOW") == "1"


class NoPythonError(Exception):
    """None of the Pythons that an environment can use is installed."""


def find_python(*versions: str) -> Path:
    """
    Find the first of some Pythons, such as "3.12", that is installed and runs.

    Raises
    ------
    NoPythonError
        If none of them is installed.
    """
    for version in versions:
        if version == this_python():
            return Path(sys._base_executable)
        for folder in map(Path, os.get_exec_path()):
            # The program that pyenv has there for each of its Pythons runs only in a folder that has chosen it.
            homes = folder.parent.glob(f"versions/{version}.*/bin") if folder.name == "shims" else [folder]
            for python in (home / f"python{version}" for home in homes):
                if python.exists() and subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
                    return python
    raise NoPythonError(f"Python {' or '.join(versions)} is not installed")


def this_python() -> str:
    """Return the version of the Python that runs the tests."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def installed(name: str, pythons: list[str], requirements: list[str], before: object = None) -> Path:
    """Return the Python of an environment with some requirements; it is made again if these have changed."""
    place, python = KEPT / name, find_python(*pythons)
    pin = json.dumps([os.path.realpath(python), requirements, str(before)])
    kept = place / "pin.json"
    if not kept.exists() or kept.read_text() != pin:
        shutil.rmtree(place, ignore_errors=True)
        limit = ["--exclude-newer", before] if before else []
        new_environment(place, *limit, *requirements, python=python)
        kept.write_text(pin)
    return place / "bin" / "python"


def versions(kind: str) -> list[str]:
    """Return the versions that the table has, of "airflow" or "published"."""
    return [entry["version"] for entry in TABLE[kind]]


def airflow(entry: dict[str, object], core_wheel: Path) -> Path:
    """Return a Python with one version of Airflow and this library, as a scheduler or a worker has it."""
    if USES_THIS_ONE and entry["version"] == importlib.metadata.version("apache-airflow"):
        return Path(sys.executable)
    requirements = [f"apache-airflow=={entry['version']}", *TABLE["beside_airflow"]]
    python = installed(entry["version"], entry["pythons"], requirements, entry.get("before"))
    [wheel] = core_wheel.glob("dkist_processing_core-*.whl")
    run_uv("pip", "install", "--quiet", "--python", python, "--no-deps", "--reinstall", wheel)
    return python


def newest_airflow(entry: dict[str, object]) -> str:
    """Return the version of Airflow that an installation gets today."""
    python = find_python(*entry["pythons"])
    wanted = "\n".join(["apache-airflow", *TABLE["beside_airflow"]])
    said = run_uv("pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python", python, "-", text=wanted)
    return re.search(r"^apache-airflow==(\S+)", said, re.MULTILINE)[1]


def published(version: str) -> Path:
    """Return a Python with a release of the published library and its dependencies."""
    [entry] = [entry for entry in TABLE["published"] if entry["version"] == version]
    requirements = [f"dkist-processing-core=={version}"]
    return installed(f"published-{version}", entry["pythons"], requirements, entry["before"])


def worker() -> Path:
    """Return the Python of a worker: with pip, and uv beside it."""
    return installed("worker", [this_python()], ["pip", f"uv=={importlib.metadata.version('uv')}"])
