"""
Sources that may change without a change of version: a checkout, and a rebuilt wheel in a local folder.

Runs in: worker.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dkist_processing_core.worker.errors import MISCONFIGURED, WorkerError

__all__ = ["changed_wheel", "deciding_files", "find_checkout", "normalized"]

PROJECT_FILE = "pyproject.toml"
REMEDY = "Set DKIST_DEV_PROJECT to a checkout of the package, the folder with its pyproject.toml"
# Suffixes of files named in pyproject.toml for a build tool that may list dependencies.
LISTS = (".cfg", ".in", ".lock", ".toml", ".txt")


def normalized(name: str) -> str:
    """Return the name of a distribution in normalized form (:pep:`503`)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def find_checkout(text: str, name: str) -> Path:
    """
    Return the checkout of a distribution from a list that is separated by colons.

    If there is none with that name, a checkout whose name cannot be known without a build is used.
    """
    folders = [Path(each).absolute() for each in text.split(os.pathsep) if each]
    if not folders or not all((each / PROJECT_FILE).is_file() for each in folders):
        raise WorkerError(
            MISCONFIGURED,
            f"the version dev is not a release that can be installed, and DKIST_DEV_PROJECT is {text!r}. {REMEDY}.",
        )
    names = {folder: _name(folder) for folder in folders}
    found = [each for each, its in names.items() if its == name]
    unknown = [each for each, its in names.items() if not its]
    if not found and len(unknown) != 1:
        others = ", ".join(f"{its} in {each}" for each, its in names.items() if its)
        raise WorkerError(
            MISCONFIGURED,
            f"DKIST_DEV_PROJECT names no checkout of {name}, but {others or 'several of unknown names'}. {REMEDY}; "
            "several are separated by colons.",
        )
    return (found or unknown)[0].resolve()


def _name(folder: Path) -> str:
    """Return the normalized name of a project; empty if its ``pyproject.toml`` does not state it (:pep:`621`)."""
    name = _table(folder).get("project", {}).get("name")
    return normalized(name) if isinstance(name, str) else ""


def _table(folder: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads((folder / PROJECT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # the installer will report it
        return {}


def deciding_files(folder: Path) -> list[Path]:
    """Return the files of a checkout that determine what is installed with it."""
    named = {folder / text for text in _texts(_table(folder).get("tool", {})) if text.endswith(LISTS)}
    usual = {folder / each for each in (PROJECT_FILE, "setup.cfg", "setup.py")}
    return sorted(each for each in usual | named if each.is_file())


def _texts(value: object) -> Iterator[str]:
    """Yield each text in a table, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def changed_wheel(settings: Mapping[str, str], name: str, version: str, environment: Path, marker: str) -> Path | None:
    """
    Return a wheel of a release in a local folder of the installer, if it is newer than the environment.

    ``marker`` is the file that was written last in the environment.
    """
    links = [*settings.get("UV_FIND_LINKS", "").split(","), *settings.get("PIP_FIND_LINKS", "").split()]
    with suppress(OSError):
        built = (environment / marker).stat().st_mtime
        for folder in {each.strip() for each in links if each.strip() and "://" not in each}:
            for wheel in Path(folder).glob("*.whl"):
                its, _, rest = wheel.name.partition("-")
                is_of_release = normalized(its) == name and rest.startswith(f"{version}-")
                if is_of_release and wheel.stat().st_mtime > built:
                    return wheel
    return None
