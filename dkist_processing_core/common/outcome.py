"""
The outcome of a task, on its way from the process that knows it to those that need it.

Runs in: task environment, which writes the file that ``DKIST_OUTCOME`` names; worker program, which reads it, adds the
exit status, and tells Airflow's operator; and the failure callback. It is JSON with the attributes of `Outcome` as its
keys; a key that is not known is passed over, and one that is missing is None. This format is part of the ABI.
"""

import json
from typing import Any, NamedTuple

__all__ = ["OUTCOME_VARIABLE", "Outcome"]

OUTCOME_VARIABLE = "DKIST_OUTCOME"
LONGEST_SUMMARY = 1000


class Outcome(NamedTuple):
    """
    How a task has ended.

    Attributes
    ----------
    state
        ``succeeded`` or ``failed``.
    summary
        The error in one line, such as ``ValueError: the flat is missing``; None if there is none.
    error
        The last lines of the error, for a message.
    exit_status
        Exit status of the task; only the worker program knows it.
    trace_id, transaction_id
        Ids of the trace and of the transaction, or root span, with telemetry.
    """

    state: str
    summary: str | None = None
    error: str | None = None
    exit_status: int | None = None
    trace_id: str | None = None
    transaction_id: str | None = None

    @property
    def is_success(self) -> bool:
        """Whether the task ran to its end."""
        return self.state == "succeeded"

    def to_json(self) -> str:
        """Return the outcome as one line of JSON."""
        return json.dumps(self._asdict())

    @classmethod
    def from_json(cls, text: str) -> "Outcome":
        """
        Return the outcome that a text says, whichever release has written it.

        A lone surrogate in it, as Python has for a byte in a file name that is no UTF-8, is escaped: Airflow 3 ends a
        task that raises an exception with one before it calls back.

        Raises
        ------
        ValueError
            If the text says none.
        """
        try:
            values = json.loads(text)
            return cls(**{name: _encodable(values.get(name)) for name in cls._fields})
        except (AttributeError, RecursionError, TypeError) as error:
            raise ValueError(f"this is no outcome of a task: {text[:80]!r}") from error


def _encodable(value: Any) -> Any:
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
