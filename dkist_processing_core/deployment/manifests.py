"""
Update the manifest and the pools when exported files are removed or put back.

Runs in: terminal of the scheduler's machine. The caller must hold the lock of the folder, as an export does.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from dkist_processing_core.common import atomic
from dkist_processing_core.exceptions import RetirementError
from dkist_processing_core.export import manifest

__all__ = ["add", "check", "described", "remove"]


def check(folder: Path) -> None:
    """Raise a `RetirementError` if the manifest or the pools of a folder cannot be updated."""
    for name, is_ours in manifest.RECOGNIZED.items():
        content = atomic.read(folder / name)
        if content and not is_ours(content):
            raise RetirementError(
                f"{folder / name} is damaged or was not written by an export, so it cannot be updated",
                remedy="Move it out of the folder, or export again",
            )


def described(folder: Path, names: Collection[str]) -> dict[str, Any]:
    """Return the entries of some files, and the definitions of the pools that they need."""
    entries = [each for each in manifest.read_entries(folder) if each["file"] in names]
    needed = {pool for each in entries for pool in each["pools"]}
    changed = {name: pool for name, pool in manifest.read_pools(folder).items() if name in needed}
    return {"entries": entries, "pools": json.loads(manifest.companions(entries, changed)[manifest.POOLS])}


def remove(folder: Path, names: Collection[str]) -> None:
    """Remove the entries of some files from the manifest of a folder."""
    entries = manifest.read_entries(folder)
    kept = [each for each in entries if each["file"] not in names]
    atomic.write_files(folder, manifest.companions(kept, manifest.read_pools(folder)))


def add(folder: Path, names: Collection[str], held: Mapping[str, Any]) -> None:
    """Add the result of `described` to the manifest of a folder again; a pool that was changed since then is kept."""
    others = [each for each in manifest.read_entries(folder) if each["file"] not in names]
    pools = {**held["pools"], **manifest.read_pools(folder)}
    atomic.write_files(folder, manifest.companions([*others, *held["entries"]], pools))
