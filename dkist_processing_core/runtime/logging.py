"""
How the log records of a task get into Airflow's log of it.

Runs in: task environment. The task's standard error stream is what Airflow reads.
"""

import logging

from dkist_processing_core.common.settings import DEFAULT_LOG_LEVEL, log_level

__all__ = ["show_log_records"]

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

logger = logging.getLogger(__name__)


def show_log_records() -> None:
    """
    Let log records reach the standard error stream, with time, level and logger, if nobody else shows them.

    Whether somebody does is decided record by record, by the handlers on its way. So a handler that a team sets up, at
    whatever moment and on whatever logger, is not disturbed, and no record is shown twice. In particular the root
    logger gets no handler, which would keep `logging.basicConfig` from doing anything.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(FORMAT))
    logging.lastResort = handler
    _let_null_handlers_not_count()
    level = logging.getLevelNamesMapping().get(log_level())
    root = logging.getLogger()
    root.setLevel(DEFAULT_LOG_LEVEL if level is None else level)
    if level is None:
        known = ", ".join(logging.getLevelNamesMapping())
        logger.warning("DKIST_LOG_LEVEL is %r, not one of %s; INFO is used", log_level(), known)


def _let_null_handlers_not_count() -> None:
    """
    Show a record that only null handlers have handled.

    `logging.lastResort` is asked if a record meets no handler at all. A `logging.NullHandler`, which libraries attach
    to their own logger as a matter of course, is one to it, although it shows nothing.
    """
    standard_call = logging.Logger.callHandlers

    def call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
        standard_call(self, record)
        # Each record comes by here, so no list is made, and the first handler that shows something ends it.
        current: logging.Logger | None = self
        has_met_one = False
        while current is not None:
            for handler in current.handlers:
                if not isinstance(handler, logging.NullHandler):
                    return
                has_met_one = True
            current = current.parent if current.propagate else None
        if has_met_one and logging.lastResort:
            logging.lastResort.handle(record)

    logging.Logger.callHandlers = call_handlers  # type: ignore[method-assign]
