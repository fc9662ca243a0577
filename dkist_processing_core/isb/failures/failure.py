"""
The failure of a task as plain data, and the text of its error as far as it is useful in a chat message.

Runs in: worker, DAG processor.
"""

import json
import re
import signal
import uuid
from dataclasses import dataclass
from functools import cached_property

from dkist_processing_core.common.redaction import redact_urls

__all__ = ["UNKNOWN_TASK", "Failure", "describe", "exit_status", "last_lines"]

UNKNOWN_TASK = "unknown"
# An arbitrary constant, from which message ids are derived.
MESSAGE_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "recipe.run.failure.m")
SIGNALLED = 128
LINES = 20
CHARACTERS = 4000
EXIT_STATUS = re.compile(r"exit (?:code|status) (-?\d+)")
MEANING = {
    65: "the recipe run id is not an integer",
    69: "the environment of the task could not be built",
    78: "a setting of the worker is missing or invalid",
}


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The known data of the failure of a task, most of it as in the message. An unknown value is None."""

    workflow_name: str
    workflow_version: str
    task_name: str  # UNKNOWN_TASK if Airflow does not say which task it was
    dag_id: str | None = None
    run_id: str | None = None
    # Start of the run, or its restart after it was cleared (ISO 8601, UTC).
    run_started: str | None = None
    map_index: int | None = None
    try_number: int | None = None
    assumed_try: int | None = None  # if Airflow does not provide the try, and nothing suggests another one
    recipe_run_id: int | str | None = None
    log_url: str | None = None
    host: str | None = None
    exit_status: int | None = None
    error: str | None = None
    trace_id: str | None = None
    transaction_id: str | None = None
    environment_identity: str | None = None
    is_lost: bool = False  # the DAG processor reports it because the task's own process could not
    reported_id: str | None = None  # id of the reported message, from the XCom of the task

    @property
    def signal(self) -> str | None:
        """Name of the signal in the exit status: 128 plus the number, as in a shell, or its negative, as in Python."""
        status = self.exit_status or 0
        try:
            return signal.Signals(status - SIGNALLED if status > SIGNALLED else -status).name
        except ValueError:
            return None

    @cached_property
    def message_id(self) -> str:
        """
        Id of the message: the same for the same try of the same task, and for no other.

        Without the number of the try, the start of the run distinguishes the failures before and after the tasks were
        cleared. Without a run, the id is random.
        """
        if self.run_id is None:
            return uuid.uuid4().hex
        number = self.assumed_try if self.try_number is None else self.try_number
        moment = self.run_started if number is None else number
        names = [self.workflow_name, self.workflow_version, self.task_name, self.run_id, self.map_index, moment]
        return uuid.uuid5(MESSAGE_NAMESPACE, json.dumps(names, default=str)).hex


def exit_status(exception: object) -> int | None:
    """Return the exit status in an exception of Airflow's own operators, which files that release 7 exported use."""
    found = EXIT_STATUS.search(str(exception))
    return int(found.group(1)) if found else None


def describe(exception: object, status: int | None) -> str | None:
    """Return the text of an exception, with the meaning of the exit status if the worker program defines one."""
    if exception is None:
        return None
    text = exception if isinstance(exception, str) else f"{type(exception).__name__}: {exception}"
    return f"{text}\n{MEANING[status]}; see the log of the task" if status in MEANING else text


def last_lines(error: str) -> str:
    """Return the end of an error, without passwords in URLs."""
    # Redacted before it is truncated: the rest of a URL that lost its beginning is not recognised as one.
    end = "\n".join(redact_urls(error).rstrip().splitlines()[-LINES:])
    shown = end if len(end) <= CHARACTERS else f"...{end[-CHARACTERS:]}"
    # A character that cannot be encoded, such as in an odd file name, must not prevent the message.
    return shown.encode(errors="backslashreplace").decode()
