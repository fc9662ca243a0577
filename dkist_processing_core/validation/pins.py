"""
Check that the extras of tasks are frozen: that the package itself pins the versions they are installed with.

Runs in: author and CI.
"""

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from dkist_processing_core.authoring.distributions import providing_distribution
from dkist_processing_core.common.settings import DEFAULT_BUILD_VERSION
from dkist_processing_core.validation.discovery import Declaration
from dkist_processing_core.validation.distribution import FROZEN
from dkist_processing_core.validation.report import Fault

__all__ = ["extras_without_pins"]

LIBRARY = "dkist-processing-core"
EXACT = {"==", "==="}
Extras = Mapping[str, list[Requirement]]


def extras_without_pins(declarations: Iterable[Declaration]) -> Iterator[Fault]:
    """
    Yield a warning for each extra of a task that installs distributions whose versions the package does not pin.

    There is none for a package without ``frozen``, which has another warning, or for a new one, which pins only this
    library.
    """
    seen = set()
    for declaration in declarations:
        name = providing_distribution(declaration.workflow.workflow_package)
        if name is None:
            continue
        extras = _extras(name)
        pinned = _pinned(extras.get(FROZEN, []))
        is_begun = declaration.workflow.workflow_version == DEFAULT_BUILD_VERSION and pinned <= {LIBRARY}
        if FROZEN not in extras or is_begun:
            continue
        for node in declaration.workflow.nodes:
            for extra in map(canonicalize_name, node.pip_extras):
                if extra == FROZEN or node.constraints or (name, extra) in seen:
                    continue
                seen.add((name, extra))
                needed = list(_needed(name, extra, extras))
                missing = {canonicalize_name(each.name) for each in needed} - pinned - _pinned(needed)
                if missing:
                    yield declaration.fault(
                        f"the extra {extra!r} of {name} is not frozen: it pins no version of "
                        f"{', '.join(sorted(missing))}, so the task runs with the newest when its environment is built",
                        remedy=f"Run dkist-processing-core freeze --extra {extra} in the folder of the package",
                        task=node.name,
                    )


def _extras(name: str) -> Extras:
    """Return the requirements of each extra; for an editable package, those in its present ``pyproject.toml``."""
    installed = distribution(name)
    if (listed := _editable_extras(installed.read_text("direct_url.json"))) is not None:
        return {canonicalize_name(extra): list(_parsed(its)) for extra, its in listed.items()}
    found: dict[str, list[Requirement]] = {}
    requirements = list(_parsed(installed.requires or ()))
    for extra in installed.metadata.get_all("Provides-Extra") or ():
        found[canonicalize_name(extra)] = [
            each
            for each in requirements
            if each.marker and not each.marker.evaluate({"extra": ""}) and each.marker.evaluate({"extra": extra})
        ]
    return found


def _editable_extras(direct_url: str | None) -> Mapping[str, list[str]] | None:
    """Return the extras in ``pyproject.toml`` if the package is editable and they are not dynamic, or else None."""
    origin = json.loads(direct_url or "{}")
    if not origin.get("dir_info", {}).get("editable"):
        return None
    try:
        file = Path(unquote(urlsplit(origin["url"]).path), "pyproject.toml")
        extras = tomllib.loads(file.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    except (KeyError, OSError, ValueError):
        return None
    return extras if isinstance(extras, dict) else None


def _parsed(requirements: Iterable[str]) -> Iterator[Requirement]:
    for each in requirements:
        try:
            yield Requirement(each)
        except (InvalidRequirement, TypeError):  # the installer will refuse it
            continue


def _needed(name: str, extra: str, extras: Extras, seen: frozenset[str] = frozenset()) -> Iterator[Requirement]:
    """Yield the requirements of an extra on this platform, including those of other extras that it refers to."""
    for each in extras.get(extra, []):
        if each.marker and not each.marker.evaluate({"extra": extra}):
            continue
        if canonicalize_name(each.name) != canonicalize_name(name):
            yield each
            continue
        for other in map(canonicalize_name, each.extras - seen - {extra}):
            yield from _needed(name, other, extras, seen | {extra})


def _pinned(requirements: Iterable[Requirement]) -> set[str]:
    """Return the names of distributions of which only a single version is allowed."""
    return {
        canonicalize_name(each.name)
        for each in requirements
        if each.url or any(part.operator in EXACT and "*" not in part.version for part in each.specifier)
    }
