"""
Call functions that may hang, in bounded time.

Runs in: task environment.
"""

import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping

__all__ = ["end_seconds", "run_within"]

logger = logging.getLogger(__name__)

DEFAULT_END_SECONDS = 3.0
LONGEST_END_SECONDS = 3600.0


def end_seconds(share: float = 1.0) -> float:
    """
    Return how long the end of a task may wait until all data is sent (``DKIST_END_SECONDS``), or a share of that time.

    An invalid value is logged, and the default of 3 s is used.
    """
    text = os.environ.get("DKIST_END_SECONDS")
    return share * (_seconds(text) if text else DEFAULT_END_SECONDS)


@functools.cache  # so that a wrong value is logged once
def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if 0 < seconds <= LONGEST_END_SECONDS:
        return seconds
    logger.warning(
        "DKIST_END_SECONDS is %r; it must be a number above 0 and at most %g; %g s is used",
        text,
        LONGEST_END_SECONDS,
        DEFAULT_END_SECONDS,
    )
    return DEFAULT_END_SECONDS


def run_within(seconds: float, functions: Mapping[str, Callable[[], object]]) -> None:
    """
    Call functions in parallel, and return when they have returned, or after a time limit.

    The keys are the names of the functions in warnings. A function that has not returned in time is left behind in a
    daemon thread. An exception of a function is logged as a warning.
    """

    def call(name: str, function: Callable[[], object]) -> None:
        try:
            function()
        except Exception as error:
            logger.warning("%s could not be closed: %s: %s", name, type(error).__name__, error)

    deadline = time.monotonic() + seconds
    threads = {
        name: threading.Thread(target=call, args=(name, function), name=f"dkist-close-{name}", daemon=True)
        for name, function in functions.items()
    }
    for thread in threads.values():
        thread.start()
    for name, thread in threads.items():
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            logger.warning("%s did not receive the rest of this task's record within %s s; it is lost", name, seconds)
