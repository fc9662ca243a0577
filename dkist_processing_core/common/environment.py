"""
The description of an environment, the file ``environment.json`` in its folder, and the identity.

Runs in: author and CI, worker, task environment. The file and the identity are part of the ABI, see
:doc:`/how-to/environments`.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = [
    "DESCRIPTION",
    "SCHEMA_VERSION",
    "identity_now",
    "identity_of",
    "identity_rows",
    "is_consistent",
    "read_description",
    "read_object",
    "short",
]

DESCRIPTION = "environment.json"
SCHEMA_VERSION = 1
SHORT = 12


def read_object(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file; empty if the file is missing, not a regular file, unreadable or damaged."""
    try:
        content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}  # a FIFO would wait
    except (OSError, RecursionError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def read_description(environment: Path) -> dict[str, Any]:
    """Return the description of an environment; empty if the file is missing, as in old environments, or damaged."""
    content = read_object(environment / DESCRIPTION)
    return content if "schema_version" in content else {}


def identity_of(description: Mapping[str, Any]) -> str:
    """Return the digest of everything that determines the code in an environment."""
    return hashlib.sha256(json.dumps(sorted(identity_rows(description), key=json.dumps)).encode()).hexdigest()


def identity_rows(description: Mapping[str, Any]) -> list[list[str | None]]:
    """Return what determines the code in an environment: name, version and digests of each distribution."""
    rows = [
        [each["name"], each["version"], each["files_sha256"], *_sources(each)] for each in _distributions(description)
    ]
    return [*rows, ["", "", description["other_sha256"]]] if description["other_sha256"] else rows


def is_consistent(description: Mapping[str, Any]) -> bool:
    """Return whether the identity in a description is that of the contents that it lists."""
    try:
        return identity_of(description) == str(description["identity"])
    except (AttributeError, KeyError, TypeError):
        return False


def identity_now(description: Mapping[str, Any]) -> str | None:
    """Return the identity of an environment with its checkouts in their present state; None if it is unknown."""
    is_known = description.get("schema_version") == SCHEMA_VERSION  # workers of a later release may share the cache
    if not (is_known and any(map(_checkout, _distributions(description)))):
        return description.get("identity")
    from dkist_processing_core.common.checkouts import checkout_state

    def refreshed(distribution: Mapping[str, Any]) -> Mapping[str, Any]:
        if not (checkout := _checkout(distribution)):
            return distribution
        state = checkout_state(Path(checkout["path"]))._asdict()
        return {**distribution, "origin": {"checkout": {**checkout, **state}}}

    return identity_of({**description, "distributions": list(map(refreshed, _distributions(description)))})


def short(identity: str) -> str:
    """Return the beginning of an identity, short enough for a person to compare."""
    return identity[:SHORT]


def _distributions(description: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return description.get("distributions") or []


def _checkout(distribution: Mapping[str, Any]) -> Mapping[str, Any]:
    return (distribution.get("origin") or {}).get("checkout") or {}


def _sources(distribution: Mapping[str, Any]) -> list[str | None]:
    checkout = _checkout(distribution)
    return [checkout["commit"], checkout["sources_sha256"]] if checkout else []
