"""
Which failures are already reported, so that the DAG processor reports only those that the tasks could not.

Runs in: worker, DAG processor. They may be machines that share nothing but Airflow, so `context` writes and reads an
XCom. Empty files in the spool folder record the same, for machines that share this folder, and for the reports of the
DAG processor, which may not write XComs.
"""

import hashlib
import logging
import os
import re
import time
from contextlib import suppress
from pathlib import Path

from dkist_processing_core.exceptions import ConfigurationError
from dkist_processing_core.isb.failures.failure import UNKNOWN_TASK, Failure
from dkist_processing_core.isb.spool import REPORTED, prepare, spool_folder

__all__ = ["is_reported", "remember"]

logger = logging.getLogger(__name__)

RECORD = re.compile("[0-9a-f]{16}-[0-9a-f]{16}-[0-9a-f]{32}")
EXPIRY_SECONDS = 7 * 24 * 3600


def remember(failure: Failure) -> None:
    """Record that a failure is reported, and remove records that are older than a week."""
    try:
        folder = prepare(spool_folder()) / REPORTED
        folder.mkdir(exist_ok=True)
        with os.scandir(folder) as entries:
            for entry in entries:
                with suppress(OSError):  # another process may remove the same files
                    if _is_record(entry) and time.time() - entry.stat().st_mtime > EXPIRY_SECONDS:
                        Path(entry).unlink()
        (folder / f"{_run(failure)}-{_digest(failure.task_name)}-{failure.message_id}").touch()
    except (OSError, ConfigurationError) as error:
        logger.debug("The report of %s could not be recorded: %s", failure.message_id, error)


def _is_record(entry: "os.DirEntry[str]") -> bool:
    """Return whether an entry is an empty file whose name has the form of a record."""
    is_ours = RECORD.fullmatch(entry.name) is not None and entry.is_file(follow_symlinks=False)
    return is_ours and entry.stat(follow_symlinks=False).st_size == 0


def is_reported(failure: Failure) -> bool:
    """Return whether a failure is reported, according to its XCom and the spool folder of this machine."""
    if failure.task_name == UNKNOWN_TASK:
        return _has_record(f"{_run(failure)}-*")
    if failure.try_number is None:
        # Any report of the task in this run counts. Airflow deletes the XComs of a task when it runs again.
        return failure.reported_id is not None or _has_record(f"{_run(failure)}-{_digest(failure.task_name)}-*")
    return failure.reported_id == failure.message_id or _has_record(f"*-{failure.message_id}")


def _has_record(pattern: str) -> bool:
    try:
        return next((spool_folder() / REPORTED).glob(pattern), None) is not None
    except (OSError, ConfigurationError) as error:
        logger.debug("Could not determine whether the failure was reported: %s", error)
        return False


def _run(failure: Failure) -> str:
    return _digest(failure.dag_id, failure.run_id, failure.run_started)


def _digest(*names: object) -> str:
    return hashlib.sha256(repr([str(each) for each in names]).encode()).hexdigest()[:16]
