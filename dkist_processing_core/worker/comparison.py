"""
Compare two environments by their descriptions.

Runs in: worker.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from dkist_processing_core.common.environment import identity_rows

__all__ = ["Difference", "differences"]


class Difference(NamedTuple):
    """
    A distribution that differs, with its two versions. An empty version means that the environment lacks it.

    If the versions are the same, the files differ. The name is empty for modules that belong to no distribution.
    """

    name: str
    first: str
    second: str


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    """Return the differences that make the identities of two environments different, sorted by name."""
    one, other = (_by_name(each) for each in (first, second))
    return [
        Difference(name, *(", ".join(row[0] for row in rows) for rows in (one.get(name, []), other.get(name, []))))
        for name in sorted({*one, *other})
        if one.get(name) != other.get(name)
    ]


def _by_name(description: Mapping[str, Any]) -> dict[str, list[list[Any]]]:
    """Return versions and digests by name. After an interrupted upgrade, a distribution may be present twice."""
    found: dict[str, list[list[Any]]] = {}
    for name, *rest in sorted(identity_rows(description), key=str):
        found.setdefault(str(name), []).append(rest)
    return found
