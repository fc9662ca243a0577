"""
The folders that installers write to in addition to the environment: caches and temporary files.

Runs in: worker. The cache of environments may be the only folder that a worker can write to: the user has no home, or
the root file system is mounted read-only.
"""

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from dkist_processing_core.worker import log
from dkist_processing_core.worker.permissions import is_private

__all__ = ["INSTALLER_FOLDER", "installer_folders", "usual_folders"]

# In the folder of the environments, which other users cannot write to. The collector ignores it.
INSTALLER_FOLDER = ".installer"


def installer_folders(variables: Mapping[str, str], environments: Path) -> dict[str, str]:
    """
    Return the variables of an installer, with only folders that the installer can write to.

    A folder that is not writable, or a cache that other users could change, is replaced with one in ``.installer`` in
    the folder of the environments.
    """
    changed = {}
    for name, folder in usual_folders(variables).items():
        if reason := _reason_not_writable(folder) or (_reason_not_trusted(folder) if name != "TMPDIR" else ""):
            instead = environments / INSTALLER_FOLDER / name.split("_")[0].lower()
            for each in (instead.parent, instead):
                each.mkdir(mode=0o700, exist_ok=True)
            changed[name] = str(instead)
            log.info(f"{folder} cannot be {reason}. The installer gets {name}={instead}")
    return {**variables, **changed}


def usual_folders(variables: Mapping[str, str]) -> dict[str, Path]:
    """Return the folders that installers write to, by variable."""
    home = variables.get("HOME") or os.path.expanduser("~")  # noqa: PTH111 - it does not raise where there is no home
    caches = Path(variables.get("XDG_CACHE_HOME") or Path(home, ".cache"))
    return {
        "UV_CACHE_DIR": Path(variables.get("UV_CACHE_DIR") or caches / "uv"),
        "PIP_CACHE_DIR": Path(variables.get("PIP_CACHE_DIR") or caches / "pip"),
        "TMPDIR": Path(variables.get("TMPDIR") or "/tmp"),  # noqa: S108 - not written by this program
    }


def _reason_not_writable(folder: Path) -> str:
    """Return why a folder is not writable; empty if it is. It is created if it does not exist."""
    if not folder.is_absolute():
        return "written: it is not an absolute path"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"written: {error.strerror or error}"
    if os.access(folder, os.W_OK | os.X_OK):
        return ""
    return f"written: {os.strerror(errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES)}"


def _reason_not_trusted(folder: Path) -> str:
    """Return why a cache cannot be trusted. Files of an environment are links to files of the cache."""
    status = folder.stat()
    if is_private(status):
        return ""
    owner = f"it belongs to user {status.st_uid} and has mode {stat.S_IMODE(status.st_mode):o}"
    return f"trusted, since others can write to it: {owner}"
