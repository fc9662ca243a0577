"""
The test mode: what replaces telemetry, the broker and the spool folder while a test records.

Runs in: author and CI, where `dkist_processing_core.testing` activates it. Code that communicates with another process
calls `active` first, which returns None outside of the test mode.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from dkist_processing_core.common.metadata import TaskMetadata

__all__ = ["Doubles", "activate", "active"]


class Doubles(NamedTuple):
    """The test doubles of the services that a process communicates with."""

    start_telemetry: Callable[[TaskMetadata], Any]  # returns the back end that records a task
    deliver: Callable[[Any], object]  # takes a message in place of the broker, or raises the error
    spool_folder: Path


class _State:
    active: Doubles | None = None


def active() -> Doubles | None:
    """Return the doubles to use; None outside of the test mode."""
    return _State.active


@contextmanager
def activate(doubles: Doubles) -> Iterator[None]:
    """Use doubles, in all threads of this process, until the ``with`` statement ends."""
    before, _State.active = _State.active, doubles
    try:
        yield
    finally:
        _State.active = before
