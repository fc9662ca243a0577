"""
The text of an error, and the exit status in it, as far as they are useful in a chat message.

Runs in: worker, DAG processor.
"""

import re

from dkist_processing_core.common.redaction import redact_urls

__all__ = ["describe", "exit_status", "last_lines"]

LINES = 20
CHARACTERS = 4000
EXIT_STATUS = re.compile(r"exit (?:code|status) (-?\d+)")
MEANING = {
    65: "the recipe run id is not an integer",
    69: "the environment of the task could not be built",
    78: "a setting of the worker is missing or invalid",
}


def exit_status(exception: object) -> int | None:
    """Return the exit status in the text of an exception of Airflow's own operators, which exported files of 7 use."""
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
