"""
The archive of retired releases, with everything that is needed to restore them.

Runs in: terminal of the scheduler's machine. Each retired release has a folder in the archive, with its files in
``files`` and a record. The record is written first. Its key ``is_complete`` becomes true last, so a record without it
is that of a program that was killed. `Record.bring_back` undoes what that program did: each file is in its place or in
the archive, never in part. Between two file systems, a file is copied completely before it is removed, so it may be in
both.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Literal

from dkist_processing_core._version import __version__
from dkist_processing_core.common import atomic
from dkist_processing_core.deployment import manifests
from dkist_processing_core.deployment.dag_files import fingerprint
from dkist_processing_core.deployment.releases import Release
from dkist_processing_core.exceptions import RetirementError
from dkist_processing_core.export import manifest
from dkist_processing_core.worker.needed import folders

__all__ = ["Record", "archive_of", "begin", "by_parent", "locked", "records", "records_of", "remove_leftovers"]

RECORD, FILES = "retired.json", "files"
ODD = re.compile(r"[^A-Za-z0-9._+-]+")
NAME = re.compile(r".+-\d{8}T\d{6}-[0-9a-f]{4}")
UNFINISHED = re.compile(r"\.[0-9a-f]{16}\.part")  # of an interrupted copy
LONGEST = 100


@dataclass(kw_only=True)
class Record:
    """One retired release in an archive. ``folder`` is its folder there; the other attributes are in its file."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    folder: Path
    releases: list[str]
    dag_ids: list[str]
    files: dict[str, str]  # fingerprints, by path relative to the DAG folder
    manifests: dict[str, dict[str, Any]]  # the entries and pools, by folder
    unpause: list[str] = field(default_factory=list)  # the DAGs that were not paused before
    is_complete: bool = False
    retired_at: str = ""
    reason: str = ""
    dag_folder: str = ""
    library_version: str = __version__
    schema_version: Literal[1] = 1

    @property
    def name(self) -> str:
        """Name of its folder."""
        return self.folder.name

    def archived(self, path: str) -> Path:
        """Return the path of a file in the archive."""
        return self.folder / FILES / path

    def write(self) -> None:
        """Write the record to its folder."""
        content = {key: value for key, value in asdict(self).items() if key != "folder"}
        atomic.write_text(self.folder / RECORD, json.dumps(content, indent=2, sort_keys=True) + "\n")

    def take(self, dags: Path) -> None:
        """Move the files from the DAG folder to the archive, and remove their entries from the manifests."""
        for path in self.files:
            _move(dags / path, self.archived(path))
        for parent, names in by_parent(self.files).items():
            if self.manifests.get(parent, {}).get("entries"):
                manifests.remove(dags / parent, names)

    def moves(self, dags: Path) -> list[str]:
        """Return the files to put back. Raise a `RetirementError` if they, or their entries, cannot be put back."""
        for parent, held in self.manifests.items():
            if held["entries"]:
                manifests.check(dags / parent)
        return [path for path in self.files if self._must_move(dags / path, self.archived(path), self.files[path])]

    def bring_back(self, dags: Path) -> list[Path]:
        """Put all archived files and their entries back. Raise a `RetirementError` if another file is in the way."""
        moves = self.moves(dags)
        for path in moves:
            _move(self.archived(path), dags / path)
        for path in self.files:  # after a move between file systems, it may be in both places
            self.archived(path).unlink(missing_ok=True)
        for parent, names in by_parent(self.files).items():
            if self.manifests.get(parent, {}).get("entries"):
                manifests.add(dags / parent, names, self.manifests[parent])
        return [dags / path for path in moves]

    def delete(self) -> None:
        """Remove the record from the archive, which must not contain its files any more."""
        for parent, _, held in os.walk(self.folder / FILES):
            if names := [each for each in held if not UNFINISHED.fullmatch(each)]:
                raise RetirementError(f"{parent} still contains {', '.join(names)}", remedy="Move them elsewhere")
        shutil.rmtree(self.folder)

    def _must_move(self, place: Path, archived: Path, expected: str) -> bool:
        is_there, is_archived = os.path.lexists(place), os.path.lexists(archived)
        if not is_there and not is_archived:
            raise RetirementError(f"{place} is missing, and so is {archived}", remedy="Export the release again")
        if is_archived and fingerprint(archived) != expected:
            raise RetirementError(
                f"{archived} is not the file that was retired: it was changed",
                remedy="Export the release again, and delete its folder in the archive",
            )
        if is_there and is_archived and fingerprint(place) != expected:
            raise RetirementError(
                f"{place} exists and differs from the file that was retired, {archived}",
                remedy="Move one of them elsewhere",
            )
        return is_archived and not is_there


def by_parent(paths: Iterable[str]) -> dict[str, set[str]]:
    """Return the names of files by their folder."""
    found: dict[str, set[str]] = {}
    for path in map(Path, paths):
        found.setdefault(str(path.parent), set()).add(path.name)
    return found


def archive_of(dags: Path, archive: Path | None) -> Path:
    """Return the archive of a DAG folder, by default beside it; raise a `RetirementError` if it is inside."""
    named = Path(_identity(dags))
    place = archive or named.parent / f"{named.name}-retired"
    if any(place.resolve().is_relative_to(each.resolve()) for each, _ in folders(dags)):
        raise RetirementError(
            f"the archive {place} is in the DAG folder {dags}, so Airflow would load its files",
            remedy="Name a folder outside the DAG folder with --archive",
        )
    return place.absolute()


def _identity(dags: Path) -> str:
    """Return the path of a DAG folder. Links are kept, since each deployment may point them at another folder."""
    return os.path.abspath(dags)  # noqa: PTH100 - does not follow links


def begin(archive: Path, dags: Path, release: Release, *, unpause: list[str], reason: str) -> Record:
    """Write the record of a release before its files are moved to the archive."""
    now = datetime.now(UTC)
    label = ODD.sub("_", "_".join(release.names).replace("==", "-"))[:LONGEST].strip("._") or "release"
    folder = archive / f"{label}-{now:%Y%m%dT%H%M%S}-{os.urandom(2).hex()}"
    record = Record(
        folder=folder,
        releases=list(release.names),
        dag_ids=release.dag_ids,
        files={each.path: each.fingerprint for each in release.files},
        manifests={},
        unpause=unpause,
        retired_at=now.isoformat(timespec="seconds"),
        reason=reason,
        dag_folder=_identity(dags),
    )
    for parent, names in by_parent(record.files).items():
        described = manifests.described(dags / parent, names)
        if described["entries"]:
            manifests.check(dags / parent)
            record.manifests[parent] = described
    folder.mkdir()
    try:
        record.write()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return record


def records_of(dags: Path, archive: Path) -> list[Record]:
    """Return the records of one DAG folder, since several may share an archive."""
    return [each for each in records(archive) if each.dag_folder == _identity(dags)]


def records(archive: Path) -> list[Record]:
    """Return the records in an archive, the oldest first. Raise a `RetirementError` if one is damaged."""
    from pydantic import TypeAdapter, ValidationError

    record, found = TypeAdapter(Record), []
    for file in sorted(archive.glob(f"*/{RECORD}")):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            found.append(_checked(record.validate_python({**content, "folder": file.parent})))
        except FileNotFoundError:  # restored meanwhile
            continue
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            raise _damaged(file, problems) from error
        except (OSError, RecursionError, TypeError, ValueError) as error:
            raise _damaged(file, f"{type(error).__name__}: {error}") from error
    return sorted(found, key=lambda each: (each.retired_at, each.name))


def _damaged(file: Path, why: str) -> RetirementError:
    return RetirementError(
        f"{file} is damaged, or was written by a later release of this library: {why}",
        remedy="Move its folder out of the archive; the DAG files are in it",
    )


def _checked(record: Record) -> Record:
    for each in map(Path, (*record.files, *record.manifests)):
        if each.is_absolute() or ".." in each.parts:
            raise ValueError(f"{each} is outside the DAG folder")
    for held in record.manifests.values():
        if not (isinstance(held["pools"], dict) and all(map(manifest.is_entry, held["entries"]))):
            raise ValueError("its manifests are not in the form that an export writes")
    return record


def remove_leftovers(archive: Path) -> None:
    """Remove folders without a record, and so without files, that a killed program left behind."""
    for folder in archive.iterdir():
        if NAME.fullmatch(folder.name) and folder.is_dir() and not (folder / RECORD).exists():
            held = [name for _, _, names in os.walk(folder) for name in names]
            if all(each.startswith(f".{RECORD}.") for each in held):
                shutil.rmtree(folder)


@contextmanager
def locked(*folders: Path) -> Iterator[None]:
    """Hold the locks of folders, which an export also takes."""
    with ExitStack() as stack:
        for each in sorted({each.resolve() for each in folders}):
            stack.enter_context(atomic.lock(each))
        yield


def _move(source: Path, target: Path) -> None:
    """Move a file, or a symbolic link itself, such that the target is complete or does not exist."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, target)
        source.unlink()


def _copy(source: Path, target: Path) -> None:
    """Copy a file to another file system, with its times and mode."""
    # A name that Airflow does not load, and always the same one, so that the remains of a killed copy are replaced.
    temporary = target.with_name(f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}.part")
    try:
        temporary.unlink(missing_ok=True)
        shutil.copy2(source, temporary, follow_symlinks=False)
        if not temporary.is_symlink():
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.rename(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
