"""
Lock files, which list each file of an environment with its hash.

Runs in: author and CI, worker. Source of the format: ``pylock.toml``, :pep:`751`.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

__all__ = ["for_release", "is_lock_file", "locked_requirements"]

HASH = " --hash="
SHA256 = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"pylock(\.[^.]+)?\.toml")
# PEP 751 adds these variables to markers; a requirement cannot use them.
GROUPS = re.compile(r"\b(extras|dependency_groups)\b")


def is_lock_file(path: str | Path) -> bool:
    """Return whether a file has the name of a lock file, such as ``pylock.toml`` or ``pylock.cam.toml``."""
    return NAME.fullmatch(Path(path).name) is not None


def locked_requirements(text: str) -> Iterator[str]:
    """
    Yield each distribution of a lock file as a requirement with hashes, in the format of ``requirements.txt``.

    If a distribution has wheels, its source archive is left out. A `ValueError` is raised for what such a requirement
    cannot express: a checkout, a folder, a file without SHA-256, or a choice of extras or dependency groups.
    """
    try:
        content = tomllib.loads(text)
        if content["lock-version"].partition(".")[0] != "1":
            raise ValueError(f"has lock-version {content['lock-version']!r}, but only 1.0 is supported")
        if not content["packages"]:
            raise ValueError("lists no packages")
        for package in content["packages"]:
            yield _requirement(package)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"is not in the format of PEP 751: {type(error).__name__}: {error}") from error


def for_release(requirements: str, name: str, version: str) -> str:
    """
    Return the requirements of a lock file, one per line, for a release of a distribution.

    The line of the distribution itself is kept if it has the version of the release, however that is spelled. A line
    with another version, as in a lock file of an earlier release, is removed.
    """
    if HASH not in requirements:
        return requirements
    name = canonicalize_name(name)  # as `locked_requirements` writes it
    return "\n".join(line for line in requirements.split("\n") if not _is_another_version(line, name, version))


def _is_another_version(line: str, name: str, version: str) -> bool:
    if not line.startswith((f"{name}==", f"{name} @")):
        return False
    try:
        return Version(str(Requirement(line.partition(HASH)[0]).specifier).removeprefix("==")) != Version(version)
    except InvalidVersion:  # dev, or a URL
        return True


def _requirement(package: Mapping[str, Any]) -> str:
    name, marker = canonicalize_name(package["name"]), package.get("marker", "")
    if GROUPS.search(marker):
        raise ValueError(f"depends on a choice of extras or dependency groups: {name} has the marker {marker!r}")
    if archive := package.get("archive"):
        if not (url := archive.get("url")):
            raise ValueError(f"refers to {name} by a path on the machine that wrote it, not by a URL")
        if "@" in urlsplit(url).netloc or "?" in url:
            raise ValueError(f"has a URL of {name} that may contain a password; a DAG must not contain one")
        release, files = f"{name} @ {url}", [archive]
    elif "version" in package and (files := package.get("wheels") or [*filter(None, [package.get("sdist")])]):
        release = f"{name}=={Version(package['version'])}"
    else:
        raise ValueError(f"installs {name} from a checkout or a folder, whose files have no hash")
    # With a space, since a semicolon without one belongs to the URL.
    requirement = Requirement(f"{release} ; {marker}" if marker else release)
    return f"{requirement}{''.join(f'{HASH}sha256:{each}' for each in _hashes(name, files))}"


def _hashes(name: str, files: Iterable[Mapping[str, Any]]) -> list[str]:
    found = [str(each["hashes"].get("sha256")) for each in files]
    if not all(map(SHA256.fullmatch, found)):
        raise ValueError(f"has no SHA-256 hash for a file of {name}")
    return sorted(set(found))
