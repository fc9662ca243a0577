"""
The outcome of a task, and how it gets from the process that knows it to those that need it.

Runs in: task environment, which writes the file that ``DKIST_OUTCOME`` names; worker program, which reads it, adds the
exit status, and passes it on to Airflow's operator; and the failure callback. It is JSON with the attributes of
`Outcome` as its keys. An unknown key is ignored, and a missing one is None. This format is part of the ABI.
"""

import json
import signal
from typing import Any, NamedTuple

__all__ = ["INCOMPLETE", "OUTCOME_VARIABLE", "Outcome", "judged"]

OUTCOME_VARIABLE = "DKIST_OUTCOME"
INCOMPLETE = 70  # EX_SOFTWARE of sysexits.h: the process exited with 0 before its task was complete
SIGNALLED = 128  # what a shell adds to the number of a signal
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
        The last lines of the traceback, for the failure message.
    exit_status
        Exit status of the task; only the worker program knows it.
    trace_id, transaction_id
        Ids of the trace and of the transaction, or root span, with telemetry.
    environment_identity
        Identity of the environment of the task, a digest of its contents; only the worker program knows it.
    """

    state: str
    summary: str | None = None
    error: str | None = None
    exit_status: int | None = None
    trace_id: str | None = None
    transaction_id: str | None = None
    environment_identity: str | None = None

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
        Parse an outcome, whichever release has written it.

        A lone surrogate, which Python uses for a byte of a file name that is not UTF-8, is escaped: if the text of an
        exception contains one, Airflow 3 ends the task without calling its failure callback.

        Raises
        ------
        ValueError
            If the text is not an outcome.
        """
        try:
            values = json.loads(text)
            return cls(**{name: _encodable(values.get(name)) for name in cls._fields})
        except (AttributeError, RecursionError, TypeError) as error:
            raise ValueError(f"this is not an outcome of a task: {text[:80]!r}") from error


def _encodable(value: Any) -> Any:
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def judged(written: Outcome | None, status: int, *, grace_seconds: int | None = None) -> Outcome:
    """
    Decide how a task has ended from the outcome that it wrote and its exit status, since neither alone is proof.

    Parameters
    ----------
    written
        The outcome that the task wrote; None if it wrote none.
    status
        Exit status of its process.
    grace_seconds
        The time that it had to end, if it was killed because it exceeded that.
    """
    if written and written.is_success == (status == 0):
        return written._replace(exit_status=status)
    if status == 0:
        status = INCOMPLETE
        summary = "the task ended with exit status 0 before it was complete; for example, something called os._exit."
    elif status == SIGNALLED + signal.SIGKILL and grace_seconds is not None:
        summary = f"the task was killed, since it did not end within {grace_seconds} s (DKIST_GRACE_SECONDS)."
    elif status == SIGNALLED + signal.SIGKILL:
        summary = "the task was killed (SIGKILL); if nobody killed it, the worker ran out of memory."
    elif status > SIGNALLED:
        summary = f"the task was ended by signal {status - SIGNALLED} and reported no error."
    else:
        summary = f"the task ended with exit status {status} and reported no error."
    return (written or Outcome(state=""))._replace(state="failed", summary=summary, exit_status=status)
