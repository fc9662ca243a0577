"""
The files of a release outside of the DAG folder, on this machine: its task environments and its wheels.

Runs in: terminal of the scheduler's machine, if that is also a worker or has the wheels. This module removes nothing.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dkist_processing_core.deployment.dag_files import DagFile
from dkist_processing_core.worker.collector import Environment, environments
from dkist_processing_core.worker.request import REQUIREMENT

__all__ = ["Artifacts", "artifacts", "normalized"]


@dataclass(frozen=True, kw_only=True)
class Artifacts:
    """Environments by the normalized requirement that they are built from, and wheels by release."""

    environments: dict[str, list[Environment]]
    wheels: dict[str, list[Path]]

    def environments_of(self, files: Iterable[DagFile]) -> list[Environment]:
        """Return the environments that the tasks of some files run in."""
        needed = {normalized(need.requirement) for each in files for flow in each.workflows for need in flow.needed}
        return [each for requirement in sorted(needed) for each in self.environments.get(requirement, ())]

    def wheels_of(self, files: Iterable[DagFile]) -> list[Path]:
        """Return the wheels that environments for some files are built from."""
        names = {_release(name) for each in files for name in each.releases}
        return [wheel for name in sorted(names) for wheel in self.wheels.get(name, ())]


def artifacts(cache: Path) -> Artifacts:
    """Return the environments in a cache, and the wheels in the local folders that ``PIP_FIND_LINKS`` names."""
    by_requirement: dict[str, list[Environment]] = {}
    for each in environments(cache):
        by_requirement.setdefault(normalized(each.requirement), []).append(each)
    wheels: dict[str, list[Path]] = {}
    for name, path in _wheels():
        wheels.setdefault(name, []).append(path)
    return Artifacts(environments=by_requirement, wheels=wheels)


def normalized(requirement: str) -> str:
    """Return a requirement in normalized form, equal for the same release with the same extras."""
    from packaging.utils import canonicalize_name

    if not (match := REQUIREMENT.fullmatch(requirement)):
        return requirement
    extras = sorted({canonicalize_name(each) for each in match[2].split(",") if each})
    return f"{canonicalize_name(match[1])}[{','.join(extras)}]=={match[3]}"


def _release(name: str) -> str:
    from packaging.utils import canonicalize_name, canonicalize_version

    distribution, _, version = name.partition("==")
    return f"{canonicalize_name(distribution)}=={canonicalize_version(version)}"


def _wheels() -> Iterator[tuple[str, Path]]:
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    for place in os.environ.get("PIP_FIND_LINKS", "").split():
        folder = Path(unquote(urlsplit(place).path) if place.startswith("file:") else place)
        for file in sorted(folder.glob("*.whl")) if "://" not in str(folder) else ():
            try:
                name, version, *_ = parse_wheel_filename(file.name)
            except InvalidWheelFilename:
                continue
            yield _release(f"{name}=={version}"), file
