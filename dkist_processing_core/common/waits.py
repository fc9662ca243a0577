"""
Call functions that may hang, in bounded time.

Runs in: task environment.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping

__all__ = ["END_SECONDS", "run_within"]

logger = logging.getLogger(__name__)

# A quarter of a second more than one request of OpenTelemetry may take. On a busy machine the end of the process, with
# all that the agents have imported, takes half a second more.
END_SECONDS = 2.25


def run_within(seconds: float, functions: Mapping[str, Callable[[], object]]) -> None:
    """
    Call functions at the same time, and return when they have returned, or after a limit.

    The functions are by the names that warnings use. One that has not returned by then is left behind in a daemon
    thread. What a function raises is logged as a warning.
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
            logger.warning("%s was not sent the rest of the record of this task within %s s; it is lost", name, seconds)
