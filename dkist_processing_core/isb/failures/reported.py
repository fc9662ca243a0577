"""
Which failures are reported already, so that the DAG processor reports only those that the tasks could not.

Runs in: worker, DAG processor. They may be different machines that share nothing but Airflow, hence the XCom that
`context` writes and reads. Empty files in the spool folder record the same: for machines that share that folder, and
for what the DAG processor itself has reported, which may not write XComs.
"""

import hashlib
import logging
import time
from contextlib import suppress

from dkist_processing_core.isb.failures.failure import UNKNOWN_TASK, Failure
from dkist_processing_core.isb.spool import spool_folder

__all__ = ["is_reported", "remember"]

logger = logging.getLogger(__name__)

FOLDER = "reported"
EXPIRY_SECONDS = 7 * 24 * 3600


def remember(failure: Failure) -> None:
    """Record that a failure is reported, and remove the records that are older than a week."""
    folder = spool_folder() / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.iterdir():
            with suppress(OSError):  # another process removes the same files
                if time.time() - file.stat().st_mtime > EXPIRY_SECONDS:
                    file.unlink()
        (folder / f"{_run(failure)}-{_digest(failure.task_name)}-{failure.message_id}").touch()
    except OSError as error:
        logger.debug("The report of %s could not be recorded in %s: %s", failure.message_id, folder, error)


def is_reported(failure: Failure) -> bool:
    """Return whether a failure is reported, as far as its XCom and the spool folder of this machine show."""
    if failure.task_name == UNKNOWN_TASK:
        return _has_record(f"{_run(failure)}-*")
    if failure.try_number is None:
        # Any report of the task in this run counts. Airflow deletes the XComs of a task when it runs again.
        return failure.reported_id is not None or _has_record(f"{_run(failure)}-{_digest(failure.task_name)}-*")
    return failure.reported_id == failure.message_id or _has_record(f"*-{failure.message_id}")


def _has_record(pattern: str) -> bool:
    return next((spool_folder() / FOLDER).glob(pattern), None) is not None


def _run(failure: Failure) -> str:
    return _digest(failure.dag_id, failure.run_id, failure.run_started)


def _digest(*names: object) -> str:
    return hashlib.sha256(repr([str(each) for each in names]).encode()).hexdigest()[:16]
