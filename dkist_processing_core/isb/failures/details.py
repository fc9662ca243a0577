"""
What a task that fails says of itself, for the message that another process sends about it.

Runs in: task environment, where it is written, and worker, where the failure callback reads it. Airflow tells the
callback that a command ended with some exit status, no more. Both processes are on one machine, see the same spool
folder, and know of which try of which task they speak, so a file is enough; without one the message says less.
"""

import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping

from dkist_processing_core.common import atomic
from dkist_processing_core.isb.spool import forget_old, spool_folder

__all__ = ["last_lines", "name_of_try", "read_and_remove", "write"]

logger = logging.getLogger(__name__)

FOLDER = "last-words"
LINES = 20
CHARACTERS = 4000
USER_INFO = re.compile(r"(?<=://)[^/\s@]+(?=@)")


def last_lines(text: str) -> str:
    """Return the end of an error, as much of it as is useful in a chat, without passwords in addresses."""
    lines = "\n".join(text.rstrip().splitlines()[-LINES:])
    shown = lines if len(lines) <= CHARACTERS else f"...{lines[-CHARACTERS:]}"
    # What cannot be encoded, such as an odd file name, must not keep the message from going out.
    return USER_INFO.sub("<redacted>", shown).encode(errors="backslashreplace").decode()


def name_of_try(dag_id: object, run_id: object, task_id: object, try_number: object) -> str:
    """Return a name for one try of one task, which can be the name of a file."""
    return hashlib.sha256(
        json.dumps([str(each) for each in (dag_id, run_id, task_id, try_number)]).encode()
    ).hexdigest()


def write(facts: Mapping[str, str]) -> None:
    """
    Write down what is known of the failure of the task that this process runs.

    Outside of Airflow, or where the spool folder cannot be written, it does nothing: nobody would read it.

    Parameters
    ----------
    facts
        ``error``, ``exitCode``, and with telemetry ``traceId`` and ``transactionId``.
    """
    context = [os.environ.get(f"AIRFLOW_CTX_{name}") for name in ("DAG_ID", "DAG_RUN_ID", "TASK_ID", "TRY_NUMBER")]
    if not all(context):
        return
    try:
        folder = spool_folder() / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        forget_old(folder)
        atomic.write_text(folder / f"{name_of_try(*context)}.json", json.dumps(dict(facts)))
    except OSError as error:
        logger.debug("The failure message will not tell the error: %s", error)


def read_and_remove(name: str) -> dict[str, str]:
    """Return what a task wrote about its failure, and forget it; empty if it wrote nothing."""
    file = spool_folder() / FOLDER / f"{name}.json"
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        file.unlink()
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in facts.items()} if isinstance(facts, dict) else {}
