"""
What a deployment needs to know about exported DAG files: ``manifest.json`` and ``pools.json``.

Runs in: author and CI.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dkist_processing_core._version import __version__
from dkist_processing_core.authoring.spec import WorkflowSpec
from dkist_processing_core.common import atomic
from dkist_processing_core.resource_queue import ResourceQueue

__all__ = [
    "MANIFEST",
    "RECOGNIZED",
    "companions",
    "entry",
    "is_entry",
    "is_manifest",
    "read_entries",
    "read_pools",
]

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1
POOLS = "pools.json"
SLOTS = 128  # as many as Airflow's own default_pool has


def entry(file: str, workflow: WorkflowSpec, content: bytes) -> dict[str, Any]:
    """Return the entry of the manifest for one DAG of a file."""
    return {
        "file": file,
        "sha256": hashlib.sha256(content).hexdigest(),
        "dag_id": workflow.dag_id,
        "workflow": workflow.name,
        "version": workflow.version,
        "package": workflow.package,
        "distribution": workflow.distribution,
        "library_version": __version__,
        "tasks": [node.name for node in workflow.nodes],
        "queues": sorted({node.queue for node in workflow.nodes}),
        "pools": sorted({node.pool for node in workflow.nodes}),
        # Airflow's own operator builds its environments itself.
        "environments": [
            {"requirement": requirement, "constraints": constraints, "requires_python": workflow.requires_python}
            for requirement, constraints in sorted(
                {(workflow.requirement(each), each.constraints) for each in workflow.nodes}
            )
            if workflow.operator == "bash"
        ],
    }


def read_entries(folder: Path) -> list[dict[str, Any]]:
    """Return the valid entries of the manifest in a folder whose files exist."""
    content = atomic.read(folder / MANIFEST)
    if not content or not is_manifest(content):
        return []
    return [each for each in json.loads(content)["files"] if is_entry(each) and _exists(folder / each["file"])]


def is_entry(each: Any) -> bool:
    """Return whether a value is a valid entry of a manifest."""
    try:
        lists = each["queues"], each["pools"]
        return all(isinstance(names, list) for names in lists) and all(
            isinstance(name, str) for name in (each["file"], *each["queues"], *each["pools"])
        )
    except (KeyError, TypeError):
        return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def read_pools(folder: Path) -> dict[str, Any]:
    """Return the pools of a folder that were changed or added by hand; none if they cannot be read."""
    pools = _parsed(atomic.read(folder / POOLS) or b"")
    if not isinstance(pools, dict):
        return {}
    return {name: each for name, each in pools.items() if _is_pool(each) and each != _pool(name)}


def is_manifest(content: bytes) -> bool:
    """Return whether a content is a manifest of any release; an empty file also counts."""
    parsed = _parsed(content)
    return not content or (
        isinstance(parsed, dict)
        and parsed.keys() >= {"schema_version", "queues", "pools"}
        and isinstance(parsed.get("files"), list)
    )


def _are_pools(content: bytes) -> bool:
    parsed = _parsed(content)
    return not content or (isinstance(parsed, dict) and all(map(_is_pool, parsed.values())))


def _is_pool(value: object) -> bool:
    return isinstance(value, dict) and "slots" in value


RECOGNIZED = {MANIFEST: is_manifest, POOLS: _are_pools}


def _parsed(content: bytes) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def companions(
    entries: Iterable[dict[str, Any]], changed_pools: Mapping[str, dict[str, Any]] | None = None
) -> dict[str, bytes]:
    """
    Return the contents of the manifest and of the pools, by file name.

    The pools, in the format of ``airflow pools import``, are those that Airflow does not create itself. Pools that were
    changed by hand stay changed.
    """
    entries = sorted(entries, key=lambda each: (str(each["file"]), str(each.get("dag_id"))))
    pools = sorted({pool for each in entries for pool in each["pools"]})
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "queues": sorted({queue for each in entries for queue in each["queues"]}),
        "pools": pools,
        "files": entries,
    }
    definitions = {pool: _pool(pool) for pool in pools if pool != ResourceQueue.DEFAULT.pool} | dict(
        changed_pools or {}
    )
    return {MANIFEST: _json(manifest), POOLS: _json(definitions)}


def _pool(name: str) -> dict[str, Any]:
    return {
        "slots": SLOTS,
        "description": f"Tasks of the queue {name.removesuffix('_pool')} that may run at once.",
        "include_deferred": False,
    }


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
