"""
The marker of a complete environment, with the sizes of its files, which are checked before it is used.

Runs in: worker. The file ``.ready`` is written last. It is a JSON object that contains the size of each file, and is
part of the ABI: another release of this library may share the cache.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from dkist_processing_core.common.environment import read_object
from dkist_processing_core.worker.cache import sync_folder
from dkist_processing_core.worker.permissions import check_owner

__all__ = ["MARKER", "damage", "read_marker", "write_marker"]

MARKER = ".ready"


def damage(environment: Path) -> str | None:
    """
    Return the damage of an environment; empty if its build was not completed, None if it can be used.

    After a power failure or a disk failure, files may be empty or truncated. So the size of each file is compared,
    which takes a few milliseconds. A file that has grown, or that a task has added, is not damage.
    """
    try:
        for path in (environment, environment / MARKER):
            check_owner(path, f"the environment {path}", f"Remove {environment}; it will be built again.")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    marker = read_marker(environment)
    if not marker:
        return ""
    files = marker.get("files")
    for name, size in files.items() if isinstance(files, dict) else ():
        try:
            found = os.stat(f"{environment}/{name}").st_size  # noqa: PTH116 - half the time, for thousands of files
        except OSError as error:
            return f"{name}: {error.strerror}"
        if found < size:
            return f"{name} has {found} bytes instead of {size}"
    return None if os.access(environment / "bin" / "python", os.X_OK) else "bin/python cannot be started"


def read_marker(environment: Path) -> dict[str, object]:
    """Return the content of the marker of an environment; empty if the build was not completed."""
    return read_object(environment / MARKER)


def write_marker(environment: Path, content: Mapping[str, object]) -> None:
    """Mark an environment as complete, with the size of each file. All other files must be on the disk before."""
    from dkist_processing_core.common.atomic import write_text

    marker = {**content, "files": dict(sorted(_sizes(environment)))}
    write_text(environment / MARKER, json.dumps(marker, indent=1) + "\n")
    sync_folder(environment)


def _sizes(environment: Path) -> Iterator[tuple[str, int]]:
    """Yield the path and the size of each file, except compiled ones, which Python may rewrite."""
    for parent, _, names in os.walk(environment):
        for name in names:
            path = Path(parent, name)
            # The size of a link is that of its target, which is in uv's cache with UV_LINK_MODE=symlink.
            if path.suffix != ".pyc" and path.is_file():
                yield str(path.relative_to(environment)), path.stat().st_size
