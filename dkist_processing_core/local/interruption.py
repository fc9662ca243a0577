"""
The interruption of a local run by SIGINT (Ctrl-C) or SIGTERM.

Runs in: author and CI.
"""

import signal
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Self

__all__ = ["Interruption"]


@dataclass
class Interruption:
    """Counts SIGINT and SIGTERM: the first signal ends the tasks in an orderly way, the second one at once."""

    count: int = 0
    _before: list[tuple[int, Any]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._receive, self._send = socket.socketpair()
        for each in (self._receive, self._send):
            each.settimeout(0)
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(ValueError):  # only the main thread can set handlers
                self._before.append((number, signal.signal(number, self._note)))
        return self

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        with suppress(OSError):
            self._send.send(b"x")

    def fileno(self) -> int:
        """Return the descriptor that is readable when a signal was received."""
        return self._receive.fileno()

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)
        self._receive.close()
        self._send.close()
