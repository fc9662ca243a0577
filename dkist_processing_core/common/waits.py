"""
End what may hang, in bounded time.

Runs in: task environment.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping

__all__ = ["END_SECONDS", "run_within"]

logger = logging.getLogger(__name__)

# A quarter of a second more than a request of OpenTelemetry's may take. On a busy machine the end of the process, with
# all that the agents have imported, takes half a second beyond it.
END_SECONDS = 2.25


def run_within(seconds: float, functions: Mapping[str, Callable[[], object]]) -> None:
    """
    Call functions at the same time, and return when they have, or after a limit.

    What has not returned by then is left behind in a thread that keeps no process alive. What a function raises is a
    warning in the log.

    Parameters
    ----------
    seconds
        The limit.
    functions
        The functions, by the name that a warning tells.
    """

    def call(name: str, function: Callable[[], object]) -> None:
        try:
            function()
        except Exception as error:
            logger.warning("%s could not be closed: %s: %s", name, type(error).__name__, error)

    deadline = time.monotonic() + seconds
    threads = [
        threading.Thread(target=call, args=each, name=f"dkist-close-{each[0]}", daemon=True)
        for each in functions.items()
    ]
    for thread in threads:
        thread.start()
    for (name, _), thread in zip(functions.items(), threads, strict=True):
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            logger.warning(
                "%s did not take the rest of the record of this task within %s s; it is lost",
                name,
                seconds,
            )
