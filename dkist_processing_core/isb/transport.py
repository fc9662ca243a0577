"""
What takes the place of the interservice bus in tests.

Runs in: wherever messages are published, where it does nothing; `dkist_processing_core.testing` sets it. It stands by
itself, so that setting it does not take pika.
"""

from collections.abc import Callable
from pathlib import Path

from dkist_processing_core.isb.envelope import Envelope

__all__ = ["Substitute"]


class Substitute:
    """What is used in place of the real thing, which None stands for."""

    # Takes a message instead of the broker, or raises what keeps it from being published.
    deliver: Callable[[Envelope], object] | None = None
    spool_folder: Path | None = None
