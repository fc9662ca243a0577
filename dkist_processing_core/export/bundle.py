"""
The DAG files of a package with their manifest, in a folder, as one file, or in a zip archive.

Runs in: author and CI. All contents are made in memory first, so nothing is written unless all of it can be made. They
are byte for byte the same, wherever and whenever they are made.
"""

import hashlib
import io
import logging
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dkist_processing_core.authoring.spec import WorkflowSpec
from dkist_processing_core.common import atomic
from dkist_processing_core.export import manifest
from dkist_processing_core.export import overwrite as guard
from dkist_processing_core.rendering.dag import dag_file, is_generated

__all__ = ["archive", "release_name", "write", "write_archive"]

logger = logging.getLogger(__name__)

ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest time in a zip archive
ZIP_MODE = 0o100644
UNIX = 3


def write(
    workflows: Iterable[WorkflowSpec],
    folder: Path,
    *,
    overwrite: bool = False,
    has_companions: bool = True,
    one_file: bool = False,
) -> list[Path]:
    """
    Write the DAG files of some workflows, and the manifest and the pools if wanted, to a folder, all or nothing.

    There is one file per workflow, or with ``one_file`` a single file with their `release_name`. The entries of other
    packages in the manifest are kept. Return the DAG files. The errors are those of `overwrite.write`.
    """
    workflows = sorted(workflows, key=lambda each: each.dag_id) if one_file else list(workflows)
    by_file = (
        {f"{release_name(workflows)}.py": workflows}
        if one_file
        else {f"{each.dag_id}.py": [each] for each in workflows}
    )
    contents = {file: dag_file(*held).encode() for file, held in by_file.items()}
    released = [file for file, held in by_file.items() if _is_release(held)]
    folder.mkdir(parents=True, exist_ok=True)
    # A file that was written by hand may have the name of a workflow.
    recognized = dict.fromkeys(by_file, is_generated)
    # Without the lock, each of two parallel exports would write a manifest without the files of the other.
    with atomic.lock(folder):
        added = {}
        if has_companions:
            others = [each for each in manifest.read_entries(folder) if each["file"] not in by_file]
            entries = [
                manifest.entry(file, workflow, contents[file]) for file, held in by_file.items() for workflow in held
            ]
            _warn_of_duplicates(entries, others)
            added = manifest.companions([*others, *entries], manifest.read_pools(folder))
            recognized |= manifest.RECOGNIZED
        guard.write(folder, contents | added, released=released, recognized=recognized, overwrite=overwrite)
    return [folder / file for file in by_file]


def _warn_of_duplicates(entries: Iterable[dict[str, Any]], others: Iterable[dict[str, Any]]) -> None:
    """Warn of each DAG that is also in another file of the folder; Airflow then uses the file that it parsed last."""
    files = {each["dag_id"]: each["file"] for each in entries}
    for each in others:
        if (dag_id := str(each.get("dag_id"))) in files:
            text = "The DAG %s is in %s and in %s: deploy one of them alone, and remove the other one"
            logger.warning(text, dag_id, files[dag_id], each["file"])


def write_archive(workflows: Iterable[WorkflowSpec], folder: Path, *, overwrite: bool = False) -> Path:
    """Write the `archive` of some workflows to a folder, with their `release_name`; otherwise as `write` does."""
    workflows = list(workflows)
    name = f"{release_name(workflows)}.zip"
    released = [name] if _is_release(workflows) else []
    folder.mkdir(parents=True, exist_ok=True)
    with atomic.lock(folder):
        guard.write(
            folder,
            {name: archive(workflows)},
            released=released,
            recognized={name: _is_archive},
            overwrite=overwrite,
        )
    return folder / name


def archive(workflows: Sequence[WorkflowSpec]) -> bytes:
    """
    Return a zip archive of the DAG files, the manifest and the pools, which Airflow loads without unpacking.

    It is not compressed, since compressed bytes depend on the version of the library. The names in it have no dot
    except that of the suffix.
    """
    by_file = dict(zip(_importable_names(workflows), workflows, strict=True))
    contents = {file: dag_file(workflow).encode() for file, workflow in by_file.items()}
    contents |= manifest.companions(
        manifest.entry(file, workflow, contents[file]) for file, workflow in by_file.items()
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archived:
        for name in sorted(contents):
            member = zipfile.ZipInfo(name, ZIP_TIME)
            member.create_system = UNIX
            member.external_attr = ZIP_MODE << 16
            archived.writestr(member, contents[name])
    return buffer.getvalue()


def _is_archive(content: bytes) -> bool:
    """Return whether a content is an archive of any release of this library; an empty file also counts."""
    if not content:
        return True
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archived:
            return manifest.is_manifest(archived.read(manifest.MANIFEST))
    except Exception:  # a damaged, encrypted or foreign archive may raise any error
        return False


def _importable_names(workflows: Sequence[WorkflowSpec]) -> list[str]:
    """Return legal module names for the files, since Airflow imports the files in an archive by name."""
    stems = [each.dag_id.replace(".", "_") for each in workflows]
    digests = [hashlib.sha256(f"{each.dag_id}.py".encode()).hexdigest()[:8] for each in workflows]
    count = Counter(stems)
    pairs = zip(stems, digests, strict=True)
    return [f"{stem}.py" if count[stem] == 1 else f"{stem}_{digest}.py" for stem, digest in pairs]


def _is_release(workflows: Iterable[WorkflowSpec]) -> bool:
    return all(guard.is_release(each.version) for each in workflows)


def release_name(workflows: Iterable[WorkflowSpec]) -> str:
    """Return the name, without suffix, of the file with all workflows, from their distributions and versions."""
    return f"{'_'.join(sorted({f'{each.distribution}-{each.version}' for each in workflows}))}-dags"
