"""
Write exported files, and keep existing ones that must not change.

Runs in: author and CI. Every exported file goes through `write`, whichever function or command exports it.
"""

import os.path
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from dkist_processing_core.authoring.names import as_version
from dkist_processing_core.common import atomic
from dkist_processing_core.common.settings import DEFAULT_BUILD_VERSION
from dkist_processing_core.exceptions import ChangedFileError, ReleasedFileError

__all__ = ["is_release", "write"]


def is_release(version: str) -> bool:
    """Return whether a version is published only once, unlike ``dev`` and development releases (:pep:`440`)."""
    parsed = as_version(version)
    return version != DEFAULT_BUILD_VERSION and not (parsed and parsed.is_devrelease)


def write(
    folder: Path,
    contents: Mapping[str, bytes],
    *,
    released: Collection[str] = (),
    recognized: Mapping[str, Callable[[bytes], bool]] | None = None,
    overwrite: bool = False,
) -> None:
    """
    Write files, all of them or none, unless one of them exists and must not change.

    The keys of ``contents`` are paths relative to the folder; missing folders are created. A file that already has its
    content is not touched. Unless ``overwrite`` is true, a `ReleasedFileError` is raised for a file in ``released``
    (those of a released version) that exists with different content. A `ChangedFileError` is raised for a file whose
    content the function in ``recognized`` does not recognize as exported, and for anything that is not a regular file.
    After any error, existing files are unchanged.
    """
    if not overwrite:
        if names := [name for name in contents if _is_special(folder / name)]:
            raise ChangedFileError(str(folder / name) for name in names)
        recognized = recognized or {}
        existing = dict(_read(folder, *released, *recognized))
        different = {name for name, content in existing.items() if content != contents[name]}
        if names := [name for name in released if name in different]:
            raise ReleasedFileError(str(folder / name) for name in names)
        if names := [name for name, is_ours in recognized.items() if name in different and not is_ours(existing[name])]:
            raise ChangedFileError(str(folder / name) for name in names)
    for name in contents:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    atomic.write_files(folder, contents)


def _is_special(path: Path) -> bool:
    """Return whether the path exists as neither a file nor a folder, such as a dangling link or a FIFO."""
    return os.path.lexists(path) and not path.is_file() and not path.is_dir()


def _read(folder: Path, *names: str) -> Iterator[tuple[str, bytes]]:
    for name in names:
        if (folder / name).is_file():
            yield name, (folder / name).read_bytes()
