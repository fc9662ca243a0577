"""
What an export consists of: the DAG files of a package, and beside them what a deployment wants to know of them.

Runs in: author and CI. All of it is made in memory first, so nothing is written unless all of it can be made, and is
the same, byte for byte, wherever and whenever it is made.
"""

import hashlib
import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from dkist_processing_core._version import __version__
from dkist_processing_core.authoring.spec import WorkflowSpec
from dkist_processing_core.common import atomic
from dkist_processing_core.common.settings import DEFAULT_BUILD_VERSION
from dkist_processing_core.exceptions import ReleasedFileError
from dkist_processing_core.rendering.dag import dag_file

__all__ = ["MANIFEST", "POOLS", "archive", "archive_name", "dag_files", "write", "write_archive"]

MANIFEST = "manifest.json"
MANIFEST_SCHEMA_VERSION = 1
POOLS = "pools.json"
DEFAULT_POOL = "default_pool"
# As many as Airflow's own default_pool has.
SLOTS = 128
# The earliest time that a zip archive can hold.
ZIP_TIME = (1980, 1, 1, 0, 0, 0)
ZIP_MODE = 0o100644
UNIX = 3


def dag_files(workflows: Iterable[WorkflowSpec]) -> dict[str, tuple[WorkflowSpec, str]]:
    """Return the DAG file of each workflow with its text, by the name of the file."""
    return {f"{each.dag_id}.py": (each, dag_file(each)) for each in workflows}


def write(
    workflows: Iterable[WorkflowSpec], folder: Path, *, overwrite: bool = False, has_companions: bool = True
) -> list[Path]:
    """
    Write the DAG files of some workflows, the manifest and the pools to a folder, all or nothing.

    A file whose content is right already is not touched. What the manifest says of files of other packages in the
    folder stays.

    Parameters
    ----------
    workflows
        The workflows.
    folder
        Where to write to. It is made if it is not there.
    overwrite
        Whether a file of a released version may be replaced by another content.
    has_companions
        Whether manifest and pools are written as well.

    Returns
    -------
    list of Path
        The DAG files.

    Raises
    ------
    ReleasedFileError
        If a file of a released version is there with another content. Nothing is written then.
    OSError
        If a file cannot be written. What was there before is then untouched.
    """
    files = dag_files(workflows)
    texts = {name: text for name, (_, text) in files.items()}
    folder.mkdir(parents=True, exist_ok=True)
    # Two exports at once would each write a manifest without the files of the other.
    with atomic.alone(folder):
        if not overwrite:
            released = {name: text for name, (workflow, text) in files.items() if is_release(workflow.version)}
            _refuse_to_change({folder / name: text.encode() for name, text in released.items()})
        if has_companions:
            others = [each for each in _known_entries(folder) if each["file"] not in files]
            others = [each for each in others if (folder / each["file"]).exists()]
            texts |= _companions([*others, *_entries(files)])
        atomic.write_texts(folder, texts)
    return [folder / name for name in files]


def write_archive(workflows: Iterable[WorkflowSpec], folder: Path, *, overwrite: bool = False) -> Path:
    """
    Write the `archive` of some workflows to a folder, under its `archive_name`.

    Parameters
    ----------
    workflows
        The workflows.
    folder
        Where to write to. It is made if it is not there.
    overwrite
        Whether the archive of a released version may be replaced by another content.

    Raises
    ------
    ReleasedFileError
        If the archive of a released version is there with another content. Nothing is written then.
    OSError
        If it cannot be written. What was there before is then untouched.
    """
    workflows = list(workflows)
    file, content = folder / archive_name(workflows), archive(workflows)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic.alone(folder):
        if not overwrite and all(is_release(each.version) for each in workflows):
            _refuse_to_change({file: content})
        return atomic.write_bytes(file, content)


def archive(workflows: Iterable[WorkflowSpec]) -> bytes:
    """
    Return a zip archive of the DAG files, the manifest and the pools, from which Airflow loads the DAGs as it is.

    It is not compressed, since what a compression makes depends on the library that does it. The names in it have no
    dots but that of the suffix.
    """
    files = _by_archived_name(dag_files(workflows))
    texts = {name: text for name, (_, text) in files.items()} | _companions(_entries(files))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as made:
        for name in sorted(texts):
            member = zipfile.ZipInfo(name, ZIP_TIME)
            member.create_system = UNIX
            member.external_attr = ZIP_MODE << 16
            made.writestr(member, texts[name].encode())
    return buffer.getvalue()


def _by_archived_name(files: Mapping[str, tuple[WorkflowSpec, str]]) -> dict[str, tuple[WorkflowSpec, str]]:
    """Give the files names by which they can be imported, as Airflow does with what is in an archive."""
    stems = {name: name.removesuffix(".py").replace(".", "_") for name in files}
    shared = {stem for stem, number in Counter(stems.values()).items() if number > 1}
    return {
        f"{stem}_{hashlib.sha256(name.encode()).hexdigest()[:8]}.py" if stem in shared else f"{stem}.py": files[name]
        for name, stem in stems.items()
    }


def archive_name(workflows: Iterable[WorkflowSpec]) -> str:
    """Return the name of the archive: distributions and versions of the workflows, of which there is mostly one."""
    return f"{'_'.join(sorted({f'{each.distribution}-{each.version}' for each in workflows}))}-dags.zip"


def _refuse_to_change(released: Mapping[Path, bytes]) -> None:
    changed = [str(file) for file, content in released.items() if file.is_file() and file.read_bytes() != content]
    if changed:
        raise ReleasedFileError(changed)


def is_release(version: str) -> bool:
    """Tell whether a version is one that is published once and never again (:pep:`440`)."""
    if version == DEFAULT_BUILD_VERSION:
        return False
    try:
        return not Version(version).is_devrelease
    except InvalidVersion:
        return True


def _entries(files: Mapping[str, tuple[WorkflowSpec, str]]) -> list[dict[str, Any]]:
    return [
        {
            "file": name,
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "dagId": workflow.dag_id,
            "workflow": workflow.name,
            "version": workflow.version,
            "package": workflow.package,
            "distribution": workflow.distribution,
            "libraryVersion": __version__,
            "tasks": [node.name for node in workflow.nodes],
            "queues": sorted({node.queue for node in workflow.nodes}),
            "pools": sorted({node.pool for node in workflow.nodes}),
        }
        for name, (workflow, text) in sorted(files.items())
    ]


def _known_entries(folder: Path) -> list[dict[str, Any]]:
    """Return what a manifest that is there says; nothing if it is none of ours."""
    try:
        entries = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return [each for each in entries if isinstance(each["file"], str) and _has_names(each, "queues", "pools")]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return []


def _has_names(entry: Mapping[str, Any], *keys: str) -> bool:
    return all(isinstance(entry[key], list) and all(isinstance(each, str) for each in entry[key]) for key in keys)


def _companions(entries: list[dict[str, Any]]) -> dict[str, str]:
    entries = sorted(entries, key=lambda each: str(each["file"]))
    pools = sorted({pool for each in entries for pool in each["pools"]})
    manifest = {
        "schemaVersion": MANIFEST_SCHEMA_VERSION,
        "queues": sorted({queue for each in entries for queue in each["queues"]}),
        "pools": pools,
        "files": entries,
    }
    needed = {
        pool: {
            "slots": SLOTS,
            "description": f"Tasks of the queue {pool.removesuffix('_pool')} that may run at once.",
            "include_deferred": False,
        }
        for pool in pools
        if pool != DEFAULT_POOL
    }
    return {MANIFEST: _json(manifest), POOLS: _json(needed)}


def _json(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
