"""Wait for a condition, within a bound."""

import time
from collections.abc import Callable
from typing import Any


def wait_until(
    condition: Callable[[], Any],
    seconds: float,
    problem: Callable[[], object] | str,
    *,
    interval: float = 0.1,
    error: type[Exception] = AssertionError,
) -> Any:
    """
    Call a condition until its result is true, and return that result.

    Parameters
    ----------
    condition
        What to call.
    seconds
        The bound.
    problem
        The text of the error, or a function that returns it once the bound has passed.
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
