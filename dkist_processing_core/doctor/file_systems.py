"""
The type of the file system of a folder, its free space, and whether the folder survives a restart.

Runs in: worker, the machine of the DAG processor.
"""

import os
from pathlib import Path

__all__ = ["free_bytes", "nearest", "why_not_persistent"]

MOUNTS = Path("/proc/self/mountinfo")
IN_MEMORY = frozenset({"ramfs", "tmpfs"})
TEMPORARY = (Path("/tmp"), Path("/run"), Path("/dev/shm"))  # noqa: S108 - not written to


def nearest(folder: Path) -> Path:
    """Return the folder if it exists, or its nearest existing parent."""
    return next((each for each in (folder, *folder.parents) if os.path.lexists(each)), Path("/"))


def free_bytes(folder: Path) -> int:
    """Return the space that is free for unprivileged users on the file system of a folder, which need not exist."""
    usage = os.statvfs(nearest(folder))
    return usage.f_bavail * usage.f_frsize


def why_not_persistent(folder: Path) -> str:
    """Return why a folder does not survive a restart of the machine; empty if it does, as far as can be seen."""
    place = nearest(folder).resolve()
    if (kind := _kind(place)) in IN_MEMORY:
        return f"it is on {kind}, in memory"
    return next((f"it is below {each}" for each in TEMPORARY if place.is_relative_to(each)), "")


def _kind(place: Path) -> str:
    """Return the type of the file system of a path: of the last mount on its longest mount point (proc(5))."""
    best, kind = -1, ""
    for line in MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines():
        fields, _, rest = line.partition(" - ")
        mounted = Path(fields.split(" ")[4].encode().decode("unicode_escape"))
        if place.is_relative_to(mounted) and len(mounted.parts) >= best:
            best, kind = len(mounted.parts), rest.split(" ")[0]
    return kind
