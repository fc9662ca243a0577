"""
Check the spool folder, which holds the messages that could not be published.

Runs in: worker, the machine of the DAG processor.
"""

import os
import tempfile
from pathlib import Path

from dkist_processing_core.common.quantities import size
from dkist_processing_core.common.settings import isb_enabled
from dkist_processing_core.doctor.file_systems import free_bytes, nearest, why_not_persistent
from dkist_processing_core.doctor.machine import Machine
from dkist_processing_core.doctor.report import CheckError, Finding
from dkist_processing_core.exceptions import ConfigurationError
from dkist_processing_core.isb import spool

__all__ = ["check_spool"]

BLOCK = b"\0" * 4096
LEAST_BYTES = 100 * 1024**2
SET_FOLDER = "Set DKIST_ISB_SPOOL to a folder that the user of the worker can write to and that outlasts a restart."


def check_spool(machine: Machine) -> Finding:  # noqa: ARG001 - like each check
    """Check that the folder is writable, survives a restart, has room, and contains no pending messages."""
    if not isb_enabled():
        return Finding.not_needed("DKIST_ISB_ENABLED is false")
    try:
        folder = spool.spool_folder()
        if not folder.is_absolute():  # Airflow starts each task in a temporary folder of its own
            raise CheckError(f"DKIST_ISB_SPOOL is {str(folder)!r}, which is not an absolute path", SET_FOLDER)
        _write(folder)
        waiting = spool.pending_count(folder)
        free = free_bytes(folder)
    except ConfigurationError as error:
        raise CheckError(str(error), SET_FOLDER) from error
    except OSError as error:
        found = f"{folder} cannot be written: {error.strerror or error} ({error.filename or folder})"
        raise CheckError(found, SET_FOLDER) from error
    if waiting:
        return Finding.warning(f"{waiting} messages are pending in {folder}", "dkist-processing-core messages send")
    if reason := why_not_persistent(folder):
        return Finding.warning(f"{folder} is lost at a restart: {reason}", SET_FOLDER)
    if free < LEAST_BYTES:
        return Finding.warning(f"only {size(free)} is free for {folder}", "Free space there (df -h).")
    if not os.environ.get("DKIST_ISB_SPOOL"):
        return Finding.warning(f"DKIST_ISB_SPOOL is not set, so {folder} is used", f"export DKIST_ISB_SPOOL={folder}")
    return Finding.ok(f"{folder}, {size(free)} free")


def _write(folder: Path) -> None:
    """Write a temporary file to the folder, or to its nearest existing parent."""
    with tempfile.TemporaryFile(dir=nearest(folder)) as file:
        file.write(BLOCK)
        file.flush()
        os.fsync(file.fileno())
