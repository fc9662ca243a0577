"""
Check the cache of environments: who may write to it, whether its file system locks files, and how much it may grow.

Runs in: worker.
"""

import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from dkist_processing_core.common.quantities import size
from dkist_processing_core.common.settings import cache_folder
from dkist_processing_core.doctor.file_systems import free_bytes, nearest, why_not_persistent
from dkist_processing_core.doctor.machine import Machine
from dkist_processing_core.doctor.report import CheckError, Finding
from dkist_processing_core.worker.cache import LAYOUT, check_cache
from dkist_processing_core.worker.collector import environments
from dkist_processing_core.worker.errors import WorkerError
from dkist_processing_core.worker.installer_folders import usual_folders
from dkist_processing_core.worker.limits import max_size
from dkist_processing_core.worker.permissions import is_private, is_writable

__all__ = ["check_cache_folder", "check_disk", "check_locks"]

SECONDS = 8.0
ENVIRONMENT_BYTES = 1024**3  # an environment of a large instrument, and its wheels
COPYING = frozenset({"copy", "symlink"})
# Program of a second process that tries a lock; its arguments are the file and the operation.
TRY_LOCK = """
import errno, fcntl, os, sys
try:
    fcntl.flock(os.open(sys.argv[1], os.O_RDWR), int(sys.argv[2]) | fcntl.LOCK_NB)
except BlockingIOError:
    print("refused")
except OSError as error:
    print(f"failed: {error.strerror}")
else:
    print("granted")
"""
# The lock that this process holds, the one that the other process tries, and the expected result.
EXPECTED = (
    (fcntl.LOCK_EX, fcntl.LOCK_SH, "refused"),
    (fcntl.LOCK_EX, fcntl.LOCK_EX, "refused"),
    (fcntl.LOCK_SH, fcntl.LOCK_EX, "refused"),
    (fcntl.LOCK_SH, fcntl.LOCK_SH, "granted"),
)
OTHER_FOLDER = "Set DKIST_ENVIRONMENT_CACHE to a folder on a local disk, such as one of ext4 or xfs."


def check_cache_folder(machine: Machine) -> Finding:
    """Check that the cache belongs to this user alone and can be written, by the rules of the worker program."""
    root = cache_folder(machine.variables)
    try:
        folder = check_cache(root)
    except WorkerError as error:
        found, _, remedy = str(error).partition(". ")
        folder = root / LAYOUT
        if os.path.isdir(folder) and not is_private(folder.stat()):  # noqa: PTH112 - does not raise
            remedy = f"chown {os.geteuid()} {folder} && chmod go-w {folder}, once you know who has put what into it"
        raise CheckError(found, remedy) from error
    if folder.exists() and not is_writable(folder):
        found = f"{folder} is read-only, so no environment can be built in it"
        remedy = f"Correct the owner and mode of {folder}, or mount it writable; or set DKIST_ENVIRONMENT_CACHE."
        if not any(environments(root)):
            raise CheckError(found, remedy)
        return Finding.warning(f"{found}; its environments can be used", remedy)
    if reason := why_not_persistent(folder):
        found = f"{folder} is lost at a restart: {reason}"
        return Finding.warning(found, "Set DKIST_ENVIRONMENT_CACHE to a folder that is kept across restarts.")
    of_uv = usual_folders(machine.variables)["UV_CACHE_DIR"]
    is_linking = machine.variables.get("UV_LINK_MODE") not in COPYING
    if is_linking and nearest(of_uv).lstat().st_dev != nearest(folder).lstat().st_dev:
        found = f"{folder} and uv's cache {of_uv} are on different file systems, so uv copies files instead of linking"
        return Finding.warning(found, f"export UV_CACHE_DIR={root / '.uv'}")
    return Finding.ok(f"{folder}{'' if folder.exists() else ', which the first task will create'}")


def check_locks(machine: Machine) -> Finding:
    """Lock a file in the cache, exclusively and shared, and let another process try to lock it."""
    folder = nearest(check_cache(cache_folder(machine.variables)))
    if not is_writable(folder):
        return Finding.not_needed("nothing is built in a read-only cache")
    try:
        # Nothing takes a file with this name for an environment.
        with tempfile.NamedTemporaryFile(prefix=".doctor-", dir=folder) as file:
            for own, other, expected in EXPECTED:
                fcntl.flock(file, own | fcntl.LOCK_NB)
                if (answer := _ask(Path(file.name), other)) != expected:
                    raise CheckError(
                        f"{folder} is on a file system whose locks (flock) do not hold between processes: a lock that "
                        f"must be {expected} was {answer}",
                        OTHER_FOLDER,
                    )
    except OSError as error:
        found = f"{folder} is on a file system that cannot lock files (flock): {error.strerror}"
        raise CheckError(found, OTHER_FOLDER) from error
    return Finding.ok("exclusive and shared locks hold between two processes")


def _ask(file: Path, operation: int) -> str:
    command = [sys.executable, "-I", "-S", "-c", TRY_LOCK, str(file), str(operation)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)  # noqa: S603 - ours
    return done.stdout.strip()


def check_disk(machine: Machine) -> Finding:
    """Check that there is room for one more environment, and for the cache to grow to its limit."""
    root = cache_folder(machine.variables)
    free = free_bytes(root)
    if free < ENVIRONMENT_BYTES:
        found = f"{size(free)} is free for {root}, and one environment may need {size(ENVIRONMENT_BYTES)}"
        remedy = "Free space: dkist-processing-core environments prune --max-size 0; or set DKIST_ENVIRONMENT_CACHE to "
        raise CheckError(found, f"{remedy}a folder on a larger disk.")
    limit = max_size(machine.variables)
    if free < limit and (room := free + sum(each.size for each in environments(root))) < limit:
        found = f"environments may take {size(limit)}, but {root} has room for only {size(room)}"
        most = max(room * 9 // 10 // 1024**3, 1)
        return Finding.warning(found, f"export DKIST_ENVIRONMENT_MAX_SIZE={most}G")
    return Finding.ok(f"{size(free)} is free for {root}; environments may take {size(limit)} in all")
