"""
Write the log records of a task to its standard error stream, from which they get into Airflow's log.

Runs in: task environment.
"""

import logging
from datetime import datetime

from dkist_processing_core.common.log_lines import mark
from dkist_processing_core.common.log_records import listen
from dkist_processing_core.common.redaction import redactor
from dkist_processing_core.common.settings import DEFAULT_LOG_LEVEL, log_level
from dkist_processing_core.runtime.streams import mark_log_records

__all__ = ["format_line", "show_log_records"]

# Airflow's log adds time and level to a marked line.
MARKED_FORMAT = "%(name)s: %(message)s"
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

logger = logging.getLogger(__name__)


class _Formatter(logging.Formatter):
    """Formats times with their zone, and redacts URLs: a library may log the URL that it cannot reach."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._redact = redactor()

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text."""
        return self._redact(super().format(record))

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802 - the name and the arguments are those of `logging`
        """Return the time of a record (ISO 8601)."""
        return datetime.fromtimestamp(record.created).astimezone().isoformat(sep=" ", timespec="milliseconds")


def format_line(record: logging.LogRecord) -> str:
    """Return a record in the form in which it is shown if no handler of the task shows it."""
    return _formatter().format(record)


def _formatter() -> logging.Formatter:
    return _Formatter(MARKED_FORMAT if mark() else FORMAT)


def show_log_records() -> None:
    """
    Write log records to the standard error stream, with time, level and logger, unless another handler shows them.

    This is decided for each record, from the handlers that receive it. So a handler that a team adds, at any time and
    to any logger, works as usual, and no record is shown twice. In particular, the root logger gets no handler, with
    which `logging.basicConfig` would do nothing.
    """
    mark_log_records()
    handler = logging.StreamHandler()
    handler.setFormatter(_formatter())
    logging.lastResort = handler
    listen(_show_what_null_handlers_swallow)
    level = logging.getLevelNamesMapping().get(log_level())
    root = logging.getLogger()
    root.setLevel(DEFAULT_LOG_LEVEL if level is None else level)
    if level is None:
        known = ", ".join(logging.getLevelNamesMapping())
        logger.warning("DKIST_LOG_LEVEL is %r, which is not one of %s; INFO is used", log_level(), known)


def _show_what_null_handlers_swallow(record: logging.LogRecord) -> None:
    """
    Show a record that only null handlers have handled.

    `logging.lastResort` gets only a record without any handler. A `logging.NullHandler`, which libraries routinely
    attach to their own logger, counts as a handler although it shows nothing.
    """
    # This runs for every record, so it builds no list and stops at the first handler that shows something.
    current: logging.Logger | None = logging.getLogger(record.name)
    has_met_one = False
    while current is not None:
        for handler in current.handlers:
            if not isinstance(handler, logging.NullHandler):
                return
            has_met_one = True
        current = current.parent if current.propagate else None
    if has_met_one and logging.lastResort:
        logging.lastResort.handle(record)
