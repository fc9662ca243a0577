"""Wait for a condition, within a bound, and look at bounds of time on a machine that may be busy."""

import os
import time
from collections.abc import Callable
from typing import Any

# What has not happened by then does not happen at all, however busy the machine is. What a test has to see ended lives
# for 600 s, so that it has not just ended by itself.
PATIENCE_SECONDS = 150.0


def wait_until(
    condition: Callable[[], Any],
    problem: Callable[[], object] | str,
    *,
    seconds: float = PATIENCE_SECONDS,
    interval: float = 0.1,
    error: type[Exception] = AssertionError,
) -> Any:
    """
    Call a condition until its result is true, and return that result.

    Parameters
    ----------
    condition
        What to call.
    problem
        The text of the error, or a function that returns it once the bound has passed.
    seconds
        The bound.
    interval
        The pause between two calls, in seconds.
    error
        What to raise once the bound has passed.
    """
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise error(problem if isinstance(problem, str) else problem())
        time.sleep(interval)
    return result


def assert_takes_at_most(seconds: float, attempt: Callable[[], float | None], *, attempts: int = 5) -> None:
    """
    Assert that something takes no more than a time by itself.

    Other programs on this machine can prolong it and cannot shorten it, so one of several attempts is enough; and the
    bound is as many times longer as there are programs for each processor.

    Parameters
    ----------
    seconds
        The bound.
    attempt
        Does it once, and may return how long the part of it took that is meant.
    attempts
        How often it is done at most.
    """
    took: list[float] = []
    crowd = 1.0
    while len(took) < attempts:
        began = time.monotonic()
        part = attempt()
        took.append(time.monotonic() - began if part is None else part)
        crowd = max(crowd, os.getloadavg()[0] / (os.cpu_count() or 1))
        if took[-1] <= seconds * crowd:
            return
    raise AssertionError(f"it took {took} s, never at most {seconds} s, with {crowd:.1f} programs for each processor")
