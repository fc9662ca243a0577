"""
Check that an environment still contains what was installed.

Runs in: worker.
"""

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from dkist_processing_core.common.environment import DESCRIPTION, SCHEMA_VERSION, is_consistent, read_description
from dkist_processing_core.worker.environment_locks import lock_paths
from dkist_processing_core.worker.inventory import Inventory, take_inventory
from dkist_processing_core.worker.marker import MARKER, read_marker

__all__ = ["Finding", "verify"]


class Finding(NamedTuple):
    """A difference from the installation: a file, by its path in the environment, or a distribution."""

    what: str  # "changed", "missing", "added"
    name: str


def verify(environment: Path) -> list[Finding] | None:
    """
    Return all differences from the installation; None for an incomplete environment. Each file is read.

    Without the description of an environment, its distributions are compared only with their own lists. Compiled files
    and the files of a checkout are ignored. No other process can remove or replace the environment meanwhile.
    """
    with _in_use(environment):
        marker: Mapping[str, Any] = read_marker(environment)
        return _findings(environment, marker) if marker else None


@contextmanager
def _in_use(environment: Path) -> Iterator[None]:
    """Hold the lock for users of an environment, if there is one; a read-only cache may have none."""
    with ExitStack() as held:
        with suppress(OSError):
            fcntl.flock(held.enter_context(lock_paths(environment)[0].open()), fcntl.LOCK_SH)
        yield


def _findings(environment: Path, marker: Mapping[str, Any]) -> list[Finding]:
    described: dict[str, Any] = read_description(environment)
    findings: set[Finding] = set()
    if not is_consistent(described):
        is_known = described.get("schema_version", SCHEMA_VERSION) == SCHEMA_VERSION
        if is_known and DESCRIPTION in marker.get("files", {}):
            findings.add(Finding("changed", DESCRIPTION))
        described = {}
    checkouts = [each["name"] for each in described.get("distributions", ()) if "checkout" in (each["origin"] or {})]
    found = take_inventory(environment, checkouts)
    findings |= {Finding("missing", each) for each in found.missing}
    findings |= {Finding("changed", each) for each in found.changed}
    findings |= set(_other_files(found, described.get("other_files"), marker))
    if described:
        findings |= set(_distributions(described["distributions"], found.distributions))
    return sorted(findings)


def _other_files(found: Inventory, described: Mapping[str, str] | None, marker: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield the differences among the files that no distribution lists."""
    # The marker does not contain links to folders, of which an environment has one.
    known = {MARKER, DESCRIPTION, "lib64", *(described or ()), *(marker.get("files") or ())}
    yield from (Finding("added", path) for path in found.other_files if path not in known)
    for path, digest in (described or {}).items():
        if path not in found.other_files:
            yield Finding("missing", path)
        elif found.other_files[path] != digest:
            yield Finding("changed", path)


def _distributions(described: list[dict[str, Any]], found: list[dict[str, Any]]) -> Iterator[Finding]:
    then, now = ({each["name"]: each for each in its} for its in (described, found))
    for name in {*then, *now}:
        old, new = then.get(name), now.get(name)
        if old is None:
            yield Finding("added", f"{name} {now[name]['version']}")
        elif new is None:
            yield Finding("missing", f"{name} {old['version']}")
        elif old["version"] != new["version"]:
            yield Finding("changed", f"{name} {old['version']} -> {new['version']}")
        elif any(old[key] != new[key] for key in ("files_sha256", "record_sha256")):
            yield Finding("changed", f"{name} {old['version']}")
