"""
Create a lock file of an environment, with the hash of the wheel of each distribution.

Runs in: worker. Target format: ``pylock.toml``, :pep:`751`. pip records which wheels it installed, and uv does not. So
for an environment that uv has built, uv asks the package index for the wheels.
"""

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.utils import parse_wheel_filename

from dkist_processing_core._version import __version__
from dkist_processing_core.common.environment import read_description
from dkist_processing_core.common.lock_file import locked_requirements
from dkist_processing_core.common.programs import run_program
from dkist_processing_core.common.redaction import redactor, without_credentials
from dkist_processing_core.exceptions import EnvironmentLockError
from dkist_processing_core.worker.builds import build_all
from dkist_processing_core.worker.cache import LAYOUT
from dkist_processing_core.worker.checkout import normalized
from dkist_processing_core.worker.comparison import differences
from dkist_processing_core.worker.installer_folders import installer_folders
from dkist_processing_core.worker.needed import Needed
from dkist_processing_core.worker.pip_settings import for_uv, installer_variables
from dkist_processing_core.worker.uv import find_uv

__all__ = ["lock_file"]

COMPILE = ("pip", "compile", "--quiet", "--no-deps", "--no-header", "--no-annotate", "--format", "pylock.toml")
SECONDS = 600


def lock_file(environment: Path, description: Mapping[str, Any]) -> str:
    """
    Return a lock file from which an environment can be rebuilt. This is verified by a build.

    Parameters
    ----------
    environment
        Folder of the environment.
    description
        Its ``environment.json``.

    Raises
    ------
    EnvironmentLockError
        If a distribution has no file that could be locked, the index does not answer, or its present files differ from
        those in the environment.
    """
    for each in description["distributions"]:
        if "checkout" in (each["origin"] or {}):
            raise EnvironmentLockError(
                f"{each['name']} is installed from a checkout, which has no hash",
                remedy="Release it, and lock an environment of that release",
            )
    packages = _known(description)
    unknown = {each["name"]: each for each in description["distributions"] if each["name"] not in packages}
    if unknown:
        packages |= _asked(environment, unknown)
    text = _toml(description, packages)
    _check_by_building(text, description)
    return text


def _known(description: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the files whose URL and hash the installer has recorded."""
    found: dict[str, dict[str, Any]] = {}
    for each in description["distributions"]:
        origin = each["origin"] or {}
        if not each["wheel_sha256"]:
            continue
        if direct_url := origin.get("direct_url"):
            found[each["name"]] = {"archive": _file(direct_url["url"], each["wheel_sha256"])}
        else:
            found[each["name"]] = {"version": each["version"], "wheels": [_file(origin["url"], each["wheel_sha256"])]}
    return found


def _asked(environment: Path, distributions: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Ask the package index for the files of distributions."""
    variables = installer_folders(installer_variables(os.environ, sys.prefix), environment.parent)
    if not (uv := find_uv(variables)):
        raise EnvironmentLockError(
            "uv, which asks the package index for hashes, is not on PATH", remedy="pip install uv, and lock again"
        )
    options, _ = for_uv(variables, decided={"no-deps"})
    with tempfile.TemporaryDirectory(prefix="dkist-lock-") as name:
        folder = Path(name)
        (folder / "uv.toml").touch()  # keeps uv from searching the parent folders for one
        (folder / "pins.txt").write_text("\n".join(map(_pin, distributions.values())), encoding="utf-8")
        command: list[str | Path] = [uv, *COMPILE, "--python", environment / "bin" / "python", *options]
        command += ["--output-file", folder / "pylock.toml", folder / "pins.txt"]
        try:
            status, output = run_program(command, environment=variables, seconds=SECONDS, folder=folder)
        except subprocess.TimeoutExpired:
            status, output = 1, f"it took more than {SECONDS} s"
        if status:
            raise EnvironmentLockError(
                f"the package index does not have what is in the environment: {redactor(variables)(output).strip()}",
                remedy="Run this with the settings of the worker that has built the environment",
            )
        packages = tomllib.loads((folder / "pylock.toml").read_text(encoding="utf-8"))["packages"]
    return {each["name"]: _chosen(environment, each) for each in packages}


def _chosen(environment: Path, package: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry of a distribution in the lock, with only the installed one of its wheels."""
    kept = {key: package[key] for key in ("version", "archive") if key in package}
    if wheels := package.get("wheels"):
        tags = _tags(environment, package["name"], package["version"])
        return {**kept, "wheels": [each for each in wheels if tags & _tags_of(each)] or wheels}
    return {**kept, "sdist": package["sdist"]} if "sdist" in package else kept


def _tags(environment: Path, name: str, version: str) -> set[str]:
    """Return the tags of the installed wheel (:pep:`427`), which distinguish it from the others of the release."""
    for folder in environment.glob("lib/*/site-packages/*.dist-info"):
        spelled, _, found = folder.name.removesuffix(".dist-info").partition("-")
        if (normalized(spelled), found) == (name, version):
            lines = (folder / "WHEEL").read_text(encoding="utf-8").splitlines()
            return {line.partition(":")[2].strip() for line in lines if line.startswith("Tag:")}
    return set()


def _tags_of(wheel: Mapping[str, Any]) -> set[str]:
    name = PurePosixPath(unquote(urlsplit(wheel.get("url") or wheel["path"]).path)).name
    return set(map(str, parse_wheel_filename(name)[3]))


def _pin(distribution: Mapping[str, Any]) -> str:
    if direct_url := (distribution["origin"] or {}).get("direct_url"):
        return f"{distribution['name']} @ {direct_url['url']}"
    return f"{distribution['name']}=={distribution['version']}"


def _file(url: str, sha256: str) -> dict[str, Any]:
    return {"url": url, "hashes": {"sha256": sha256}}


def _toml(description: Mapping[str, Any], packages: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the text of a lock file. Each file has its URL without credentials, its size and its hashes."""
    lines = [
        'lock-version = "1.0"',
        f"created-by = {_value(f'dkist-processing-core {__version__}')}",
        f"requires-python = {_value('==' + '.'.join(description['interpreter']['version'].split('.')[:2]) + '.*')}",
    ]
    for name, package in sorted(packages.items()):
        lines += ["", "[[packages]]", f"name = {_value(name)}"]
        lines += [f"{key} = {_value(value)}" for key, value in package.items()]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_value(each)}' for key, each in _told(value))} }}"
    # A JSON string is also a TOML string, except for one character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


def _told(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in ("url", "path", "size", "hashes", "sha256"):
        if key in table:
            yield key, without_credentials(table[key]) if key == "url" else table[key]


def _check_by_building(text: str, description: Mapping[str, Any]) -> None:
    """Build an environment from a lock file in an empty cache, and compare."""
    requirement = description["requirement"]
    try:
        needed = Needed(requirement, "\n".join(sorted(locked_requirements(text))))
    except ValueError as error:
        raise EnvironmentLockError(f"the lock {error}", remedy="Use a package index that states hashes") from error
    with tempfile.TemporaryDirectory(prefix="dkist-lock-") as cache:
        variables = {
            **os.environ,
            "DKIST_ENVIRONMENT_CACHE": cache,
            "DKIST_PYTHON": description["interpreter"]["executable"],
        }
        [built] = build_all([needed], variables, parallel=1)
        if not built.outcome.is_success:
            raise EnvironmentLockError(
                f"{requirement} cannot be built from its lock: {built.outcome.summary}",
                remedy=f"Its log ends with: {built.log.decode(errors='replace')[-2000:]}",
            )
        [folder] = Path(cache, LAYOUT).glob("*/")
        if names := [
            each.name or "modules outside any distribution"
            for each in differences(description, read_description(folder))
        ]:
            raise EnvironmentLockError(
                f"the package index no longer has what is in the environment: {', '.join(names)} differ",
                remedy="Remove the environment, build it again from the index of today, and lock that one",
            )
