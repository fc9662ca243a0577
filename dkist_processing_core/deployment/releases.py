"""
The releases in a DAG folder.

Runs in: terminal of the scheduler's machine. The contents of a file are read from the file itself: often the files are
copied to the scheduler without their manifest, or the manifest is older than a file.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from dkist_processing_core.authoring.names import as_version
from dkist_processing_core.common import atomic
from dkist_processing_core.deployment.dag_files import DagFile, read
from dkist_processing_core.export import manifest
from dkist_processing_core.worker.needed import candidates

__all__ = ["Deployed", "Release", "deployed"]


@dataclass(frozen=True, kw_only=True)
class Release:
    """Files that can only be deployed and retired together, and the release that they belong to."""

    names: tuple[str, ...]  # more than one if a file has workflows of several releases
    files: tuple[DagFile, ...]

    @property
    def name(self) -> str:
        """Name for people."""
        return ", ".join(self.names)

    @property
    def dag_ids(self) -> list[str]:
        """Ids of the DAGs in its files."""
        return sorted({dag_id for file in self.files for dag_id in file.dag_ids})

    @property
    def requirements(self) -> list[str]:
        """The requirements from which its environments are built."""
        return sorted({need.requirement for file in self.files for flow in file.workflows for need in flow.needed})

    def part(self, dag_id: str) -> "Release":
        """Return the part of the release that is in the files with this DAG."""
        files = tuple(each for each in self.files if dag_id in each.dag_ids)
        names = sorted({name for each in files for name in each.releases})
        return Release(names=tuple(names), files=files)


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """The contents of a DAG folder. ``others`` are files that are not, or not only, exported; the values say why."""

    folder: Path
    releases: tuple[Release, ...]
    others: dict[str, str]
    remarks: tuple[str, ...]  # on differences between the files and the manifests

    @property
    def dag_ids(self) -> set[str]:
        """Ids of all DAGs in exported files."""
        return {dag_id for each in self.releases for dag_id in each.dag_ids}

    def without(self, release: Release) -> "Deployed":
        """Return what remains without the files of a release, or of a part of one."""
        gone = {each.path for each in release.files}
        kept = [file for each in self.releases for file in each.files if file.path not in gone]
        return replace(self, releases=tuple(_grouped(kept)))

    @property
    def files(self) -> list[DagFile]:
        """All exported files."""
        return [file for each in self.releases for file in each.files]


def deployed(folder: Path) -> Deployed:
    """Return the contents of a DAG folder and, as Airflow does, of its subfolders."""
    files, others = [], {}
    for path in candidates(folder):
        found = read(folder, path)
        if isinstance(found, DagFile):
            files.append(found)
        else:
            others[os.path.relpath(path, folder)] = found
    return Deployed(
        folder=folder, releases=tuple(_grouped(files)), others=others, remarks=tuple(_remarks(folder, files))
    )


def _grouped(files: Iterable[DagFile]) -> list[Release]:
    by_name: dict[str, tuple[set[str], list[DagFile]]] = {}
    for file in files:
        known = {id(by_name[name]): by_name[name] for name in file.releases if name in by_name}
        names, held = group = next(iter(known.values()), (set(), []))
        for each in [*known.values()][1:]:
            names.update(each[0])
            held.extend(each[1])
        names.update(file.releases)
        held.append(file)
        by_name.update(dict.fromkeys(names, group))
    releases = [
        Release(names=tuple(sorted(names, key=_order)), files=tuple(held))
        for names, held in {id(each): each for each in by_name.values()}.values()
    ]
    return sorted(releases, key=lambda each: _order(each.names[0]))


def _order(name: str) -> tuple[object, ...]:
    distribution, _, version = name.partition("==")
    parsed = as_version(version)
    # Two invalid versions can only be compared as texts.
    return (distribution, parsed is not None, parsed or version)


def _remarks(folder: Path, files: Iterable[DagFile]) -> Iterable[str]:
    by_parent: dict[str, list[DagFile]] = {}
    for file in files:
        if not file.path.endswith(".zip"):  # an archive contains its own manifest
            by_parent.setdefault(os.path.dirname(file.path), []).append(file)  # noqa: PTH120 - a text
    for parent, held in by_parent.items():
        place = folder / parent / manifest.MANIFEST
        content = atomic.read(place)
        if not content:
            yield f"there is no {place}; what is here was read from the DAG files"
        elif not manifest.is_manifest(content):
            yield f"{place} is damaged; what is here was read from the DAG files"
        else:
            digests = {each["file"]: each.get("sha256") for each in manifest.read_entries(folder / parent)}
            for file in held:
                name = Path(file.path).name
                if name not in digests:
                    yield f"{file.path} is not listed in the manifest"
                elif file.fingerprint.startswith("sha256:") and f"sha256:{digests[name]}" != file.fingerprint:
                    yield f"{file.path} differs from the file that the manifest describes"
